"""The KV pool's book-keeping: which block belongs to whom, and which prefixes are cached. Pure.

A block holds the keys and values of ``BLOCK_SIZE`` positions. Full blocks are published under a
hash that chains the hashes of all blocks before it, so an equal hash means an equal prefix. Hashes
are sha256: a crafted collision would show one user's prefix to another.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from paceline.llm.rows import BLOCK_SIZE


def num_blocks_for(num_tokens: int) -> int:
    """Blocks that hold ``num_tokens`` positions.

    >>> [num_blocks_for(n) for n in (0, 1, 16, 17)]
    [0, 1, 1, 2]
    """
    return -(-num_tokens // BLOCK_SIZE)


def root_hash(salt: str) -> bytes:
    """The chain's start; requests of different salts share nothing."""
    return hashlib.sha256(salt.encode()).digest()


def chain_hash(parent: bytes, tokens: Sequence[int]) -> bytes:
    """Hash of a full block whose predecessors hash to ``parent``."""
    return hashlib.sha256(parent + array("q", tokens).tobytes()).digest()


class BlockPool:
    """Reference-counted blocks with a prefix cache of least recently used ones.

    A block is *used* (reference count > 0), *cached* (count 0, but published and ready to be found
    again) or *free*. ``allocate`` takes free blocks first, then evicts the cached block that was
    released longest ago.
    """

    def __init__(self, num_blocks: int, *, prefix_caching: bool = True) -> None:
        assert num_blocks > 0
        self.num_blocks = num_blocks
        self._prefix_caching = prefix_caching
        self._references = [0] * num_blocks
        self._free = list(range(num_blocks - 1, -1, -1))
        self._cached: OrderedDict[int, None] = OrderedDict()  # oldest first
        self._block_of: dict[bytes, int] = {}
        self._hash_of: dict[int, bytes] = {}

    @property
    def num_available(self) -> int:
        """Blocks that ``allocate`` can hand out: free ones and cached ones."""
        return len(self._free) + len(self._cached)

    @property
    def num_cached(self) -> int:
        return len(self._cached)

    @property
    def num_used(self) -> int:
        return self.num_blocks - self.num_available

    def find(self, hashes: Iterable[bytes]) -> list[int]:
        """Published blocks of the longest prefix of ``hashes``; takes no reference."""
        found: list[int] = []
        for key in hashes:
            block = self._block_of.get(key)
            if block is None:
                break
            found.append(block)
        return found

    def num_idle(self, blocks: Iterable[int]) -> int:
        """How many of ``blocks`` nobody uses now: taking them makes fewer available."""
        return sum(self._references[block] == 0 for block in blocks)

    def take(self, blocks: Iterable[int]) -> None:
        """Adds a reference to each of ``blocks``."""
        for block in blocks:
            if self._references[block] == 0:
                del self._cached[block]
            self._references[block] += 1

    def allocate(self) -> int:
        """A block of its own for the caller; ``num_available`` must be > 0."""
        if self._free:
            block = self._free.pop()
        else:
            block, _ = self._cached.popitem(last=False)
            del self._block_of[self._hash_of.pop(block)]
        self._references[block] = 1
        return block

    def borrow(self, num_blocks: int) -> list[int]:
        """Free blocks, to be given back by ``release``; none if there are fewer. What is cached stays cached."""
        return [self.allocate() for _ in range(num_blocks)] if num_blocks <= len(self._free) else []

    def release(self, blocks: Sequence[int]) -> None:
        """Drops a reference to each block of a sequence.

        The last blocks are released first, so that a shared beginning outlives its continuations.
        """
        for block in reversed(blocks):
            self._references[block] -= 1
            assert self._references[block] >= 0, f"block {block} released twice"
            if self._references[block]:
                continue
            if block in self._hash_of:
                self._cached[block] = None
            else:
                self._free.append(block)

    def publish(self, block: int, key: bytes) -> None:
        """Makes a full, computed block findable. The first block of a hash stays the one found."""
        if self._prefix_caching and key not in self._block_of and block not in self._hash_of:
            self._block_of[key] = block
            self._hash_of[block] = key

    def check(self) -> None:
        """Asserts that every block is in exactly one place."""
        used = {block for block, count in enumerate(self._references) if count}
        free, cached = set(self._free), set(self._cached)
        assert len(free) == len(self._free), "a block is free twice"
        assert not used & free, "a block is both free and in use"
        assert not used & cached, "a block is both cached and in use"
        assert not free & cached, "a block is both free and cached"
        assert len(used) + len(free) + len(cached) == self.num_blocks, "a block is nowhere"
        assert self._block_of == {key: block for block, key in self._hash_of.items()}
        assert not free & self._hash_of.keys(), "a free block is published"

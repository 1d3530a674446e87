"""Suffix lookup: what followed the last words in earlier requests and their answers. Pure.

Idea: Oliaro et al., "SuffixDecoding" (arXiv 2411.04975). Here chains of equal hashes, as in Deutsch's DEFLATE (RFC 1951,
section 4), stand for the suffix trees: memory has a bound, and old text leaves at no cost.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final, final

from paceline.llm.draft.matching import MAX_MATCH, sprout
from paceline.llm.draft.proposer import Context, Setup
from paceline.llm.draft.tree import NO_DRAFT, DraftTree

SHORTEST: Final = 3  # tokens of a match: those that are hashed together
NUM_CHAINS: Final = 1 << 15
MAX_CANDIDATES: Final = 16  # of a chain, latest first
PIECE: Final = 256  # tokens indexed by one call: 0.05 ms or so
MAX_SEQUENCE: Final = 1 << 13  # last tokens kept of a sequence
MAX_TOKENS: Final = 1 << 17  # kept of one salt
MAX_SALTS: Final = 16
_WORTH_LESS: Final = 2  # tokens: M of another text foretell as M - 2 of the same text do (code: .36 and .56 at M = 3)

_NO_TEXT: Final = array("i")


@final
class Store:
    """Finished sequences of one salt; the oldest are forgotten first.

    Memory: about 12 bytes a token and up to 1.3 MB for the heads of the chains, so 3 MB at ``MAX_TOKENS``.
    """

    def __init__(self, max_tokens: int = MAX_TOKENS) -> None:
        self._max_tokens = max_tokens
        self._waiting: deque[array[int]] = deque()  # to be indexed
        self._texts: dict[int, tuple[array[int], array[int]]] = {}  # by number: tokens, and links to earlier places
        self._last = 0  # number of the latest text
        self._heads: list[int] = []  # latest place of each chain: number * MAX_SEQUENCE + index; 0: none
        self._num_tokens = 0

    @property
    def num_tokens(self) -> int:
        return self._num_tokens

    def add(self, tokens: Sequence[int]) -> None:
        """Keeps the last ``MAX_SEQUENCE`` of ``tokens``, to be found once ``index`` has come to them."""
        text = array("i", tokens[-min(MAX_SEQUENCE, self._max_tokens) :])
        self._waiting.append(text)
        self._num_tokens += len(text)
        while self._num_tokens > self._max_tokens:
            oldest = self._texts.pop(next(iter(self._texts)))[0] if self._texts else self._waiting.popleft()
            self._num_tokens -= len(oldest)

    def index(self, budget: int) -> int:
        """Indexes at most ``budget`` tokens; returns what is left of it."""
        while budget > 0:
            tokens, links = self._texts.get(self._last, (_NO_TEXT, _NO_TEXT))
            start = len(links)
            num = min(len(tokens) - SHORTEST - start, budget)
            if num > 0:
                self._link(tokens, links, start, num)
                budget -= num
            elif self._waiting:
                self._last += 1
                self._texts[self._last] = self._waiting.popleft(), array("q")
            else:
                break
        return budget

    def _link(self, tokens: array[int], links: array[int], start: int, num: int) -> None:
        heads = self._heads
        if not heads:
            heads = self._heads = [0] * NUM_CHAINS
        append = links.append
        place = self._last * MAX_SEQUENCE + SHORTEST + start
        for key in map(hash, zip(tokens[start : start + num], tokens[start + 1 :], tokens[start + 2 :], strict=False)):
            chain = key % NUM_CHAINS
            append(heads[chain])
            heads[chain] = place
            place += 1

    def find(self, tokens: Sequence[int], match: Match) -> None:
        """Sets ``match`` to the longest match of the end of ``tokens``, the latest of equal ones, and the one before."""
        match.clear()
        if not self._heads:
            return
        recent = tokens[: -MAX_MATCH - 1 : -1]  # latest first
        limit, longest = len(recent), SHORTEST - 1
        place = self._heads[hash(tuple(tokens[-SHORTEST:])) % NUM_CHAINS]
        for _ in range(MAX_CANDIDATES):
            number, at = divmod(place, MAX_SEQUENCE)
            if number not in self._texts:  # no more, or forgotten as all before it are
                break
            text, links = self._texts[number]
            length, most = 0, min(at, limit)
            while length < most and text[at - length - 1] == recent[length]:
                length += 1
            if length > longest:
                longest = match.length = length
                match.text, match.at, match.second_text = text, at, _NO_TEXT
            elif length == longest >= SHORTEST and not match.second_text:
                match.second_text, match.second = text, at
            place = links[at - SHORTEST]


@final
class Match:
    """What the end of one sequence has in common with a text: ``text[at]`` came next there."""

    __slots__ = ("at", "length", "num_seen", "second", "second_text", "text")

    def __init__(self) -> None:
        self.num_seen = 0
        self.clear()

    def clear(self) -> None:
        self.text = self.second_text = _NO_TEXT  # none
        self.at = self.second = self.length = 0

    def follow(self, emitted: list[int]) -> bool:
        """Moves on if the latest or the second text goes on like ``emitted``, and then goes on."""
        num = len(emitted)
        text, at = self.text, self.at
        follows = at + num < len(text) and text[at : at + num].tolist() == emitted
        text, at = self.second_text, self.second
        second_follows = at + num < len(text) and text[at : at + num].tolist() == emitted
        if follows:
            self.at += num
        elif second_follows:
            self.text, self.at = text, at + num
        else:
            return False
        if follows and second_follows:
            self.second = at + num
        else:
            self.second_text = _NO_TEXT
        self.length = min(self.length + num, MAX_MATCH)
        return True

    def tree(self, depth: int) -> DraftTree:
        text, at = self.text, self.at
        if not text:
            return NO_DRAFT
        second = self.second_text[self.second : self.second + depth]
        return sprout(text[at : at + depth], second, self.length - _WORTH_LESS)


@final
class Suffix:
    """Proposes what followed the longest match of at least ``SHORTEST`` tokens in finished sequences of the same salt.

    A match is kept for as long as the output follows it. Finished sequences are indexed piece by piece, when their salt
    is asked for. Memory: at most ``max_salts`` stores, 48 MB in all (the least recently used goes first), and the two
    texts that a live sequence follows, 64 KB.
    """

    def __init__(self, *, max_tokens: int = MAX_TOKENS, max_salts: int = MAX_SALTS) -> None:
        self._max_tokens, self._max_salts = max_tokens, max_salts
        self._stores: OrderedDict[str, Store] = OrderedDict()  # least recently used first
        self._matches: dict[Context, Match] = {}

    def propose(self, contexts: Sequence[Context], depth: int) -> list[DraftTree]:
        matches, stores = self._matches, self._stores
        budget = PIECE
        trees = []
        for context in contexts:
            match = matches.get(context)
            if match is None:
                match = matches[context] = Match()
            tokens = context.tokens
            num, seen = len(tokens), match.num_seen
            if num != seen and not (match.text and num > seen and match.follow(tokens[seen:])):
                store = stores.get(context.salt)
                if store is None:
                    match.clear()
                else:
                    stores.move_to_end(context.salt)
                    budget = store.index(budget)
                    store.find(tokens, match)
            match.num_seen = num
            trees.append(match.tree(depth))
        return trees

    def catch_up(self, contexts: Sequence[Context]) -> list[tuple[int, int]]:
        return [(0, 0)] * len(contexts)

    def num_missed(self, context: Context) -> int:
        return 0

    def finish(self, context: Context) -> None:
        self._matches.pop(context, None)
        if len(context.tokens) <= context.num_prompt:
            return
        store = self._stores.get(context.salt)
        if store is None:
            store = self._stores[context.salt] = Store(self._max_tokens)
            if len(self._stores) > self._max_salts:
                self._stores.popitem(last=False)
        self._stores.move_to_end(context.salt)
        store.add(context.tokens)

    def close(self) -> None:
        self._matches.clear()
        self._stores.clear()


def make(setup: Setup) -> Suffix | None:
    """None if answers must not be shared."""
    return Suffix() if setup.config.share_outputs else None

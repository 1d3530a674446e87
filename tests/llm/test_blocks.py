import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from paceline.llm.blocks import BlockPool, chain_hash, num_blocks_for, root_hash


def test_allocates_every_block_once() -> None:
    pool = BlockPool(4)
    assert sorted(pool.allocate() for _ in range(4)) == [0, 1, 2, 3]
    assert pool.num_available == 0


def test_released_block_is_free_unless_published() -> None:
    pool = BlockPool(2)
    first, second = pool.allocate(), pool.allocate()
    pool.publish(first, b"a")
    pool.release([first, second])
    assert (pool.num_cached, pool.num_available, pool.num_used) == (1, 2, 0)
    assert pool.find([b"a"]) == [first]


def test_shared_block_lives_until_the_last_user_leaves() -> None:
    pool = BlockPool(2)
    block = pool.allocate()
    pool.take([block])
    pool.release([block])
    assert pool.num_used == 1
    pool.release([block])
    assert pool.num_used == 0


def test_evicts_what_was_released_longest_ago() -> None:
    pool = BlockPool(3)
    blocks = [pool.allocate() for _ in range(3)]
    for block, key in zip(blocks, (b"a", b"b", b"c"), strict=True):
        pool.publish(block, key)
    for block in blocks:
        pool.release([block])
    assert pool.allocate() == blocks[0]
    assert pool.find([b"a"]) == []
    assert pool.find([b"b"]) == [blocks[1]]


def test_end_of_a_sequence_is_evicted_before_its_beginning() -> None:
    pool = BlockPool(2)
    blocks = [pool.allocate(), pool.allocate()]
    pool.publish(blocks[0], b"beginning")
    pool.publish(blocks[1], b"end")
    pool.release(blocks)
    assert pool.allocate() == blocks[1]


def test_find_stops_at_the_first_gap() -> None:
    pool = BlockPool(3)
    blocks = [pool.allocate() for _ in range(3)]
    pool.publish(blocks[0], b"a")
    pool.publish(blocks[2], b"c")
    assert pool.find([b"a", b"b", b"c"]) == [blocks[0]]


def test_without_prefix_caching_nothing_is_found() -> None:
    pool = BlockPool(1, prefix_caching=False)
    block = pool.allocate()
    pool.publish(block, b"a")
    assert pool.find([b"a"]) == []


def test_hashes_depend_on_salt_predecessors_and_tokens() -> None:
    tokens = list(range(16))
    hashes = {
        chain_hash(root_hash(""), tokens),
        chain_hash(root_hash("tenant"), tokens),
        chain_hash(chain_hash(root_hash(""), tokens), tokens),
        chain_hash(root_hash(""), tokens[::-1]),
    }
    assert len(hashes) == 4


def test_releasing_twice_is_our_own_fault() -> None:
    pool = BlockPool(1)
    block = pool.allocate()
    pool.release([block])
    with pytest.raises(AssertionError, match="released twice"):
        pool.release([block])


@pytest.mark.parametrize(("tokens", "blocks"), [(0, 0), (1, 1), (16, 1), (17, 2), (2048, 128)])
def test_num_blocks_for(tokens: int, blocks: int) -> None:
    assert num_blocks_for(tokens) == blocks


class PoolMachine(RuleBasedStateMachine):
    """Owners come, share prefixes, publish and go in any order; the books stay right."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(6)
        self.owners: list[list[int]] = []

    @precondition(lambda self: self.pool.num_available > 0)
    @rule(key=st.integers(0, 8))
    def allocate(self, key: int) -> None:
        block = self.pool.allocate()
        self.pool.publish(block, bytes([key]))
        self.owners.append([block])

    @rule(keys=st.lists(st.integers(0, 8), max_size=3))
    def share(self, keys: list[int]) -> None:
        found = list(dict.fromkeys(self.pool.find(bytes([key]) for key in keys)))
        self.pool.take(found)
        self.owners.append(found)

    @precondition(lambda self: bool(self.owners))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.owners) - 1))
        self.pool.release(self.owners.pop(index))

    @invariant()
    def books_are_right(self) -> None:
        self.pool.check()
        assert self.pool.num_used == len({block for blocks in self.owners for block in blocks})


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

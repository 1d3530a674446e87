"""What a draft model has stored always agrees with the text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.errors import ExecutionError
from tests.llm.draft.drafting import (
    Oracle,
    V,
    chain_of,
    check_tree,
    context,
    proposer,
)


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_whatever_is_accepted_drafts_are_the_models_own(folder: Path, oracle: Oracle, data: st.DataObject) -> None:
    drafts, _ = proposer(folder, max_rows=data.draw(st.sampled_from([4, 7, 512])))
    contexts = [
        context(size, first=40 * size) for size in data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=3))
    ]
    for _ in range(data.draw(st.integers(1, 5))):
        depth = data.draw(st.integers(1, 5))
        asked = [each for each in contexts if data.draw(st.booleans())]
        if data.draw(st.integers(0, 3)) == 0:
            drafts.catch_up(asked)
            assert [drafts.num_missed(each) for each in asked] == [0] * len(asked)
        trees = drafts.propose(asked, depth)
        for each, tree in zip(asked, trees, strict=True):
            check_tree(oracle, tree, each.tokens, depth)
        for each in contexts:
            drafted = chain_of(trees[asked.index(each)]) if each in asked else []
            each.tokens.extend(drafted[: data.draw(st.integers(0, len(drafted)))])
            each.tokens.extend(data.draw(st.lists(st.integers(0, V - 1), max_size=2)))
        drafts._memory.pool.check()
    for each in contexts:
        drafts.finish(each)
    assert drafts._memory.pool.num_used == 0


def test_nothing_is_computed_twice(folder: Path, oracle: Oracle) -> None:
    drafts, runner = proposer(folder)
    own = context(20)
    text = oracle.chain(own.tokens, 9)
    drafts.propose([own], 4)
    assert runner.rows == [20, 1, 1, 1]
    own.tokens.extend(text[:5])  # all four, and the target's own: one draft and that token are missing
    drafts.propose([own], 2)
    assert runner.rows[4:] == [2, 1]
    drafts.propose([own], 2)  # the same text again
    own.tokens.append(text[5])  # the first of two was verified, the other still stands
    drafts.propose([own], 1)
    assert runner.rows[6:] == []
    drafts.propose([own], 2)
    assert runner.rows[6:] == [1]
    own.tokens.append((text[6] + 1) % V)  # wrong
    drafts.propose([own], 1)
    assert runner.rows[7:] == [1]


def test_first_rows_of_all_go_in_one_pass(folder: Path) -> None:
    drafts, runner = proposer(folder)
    contexts = [context(size, first=90 * size) for size in (5, 3, 9)]
    drafts.propose(contexts, 2)
    assert runner.rows == [17, 3]
    for each in contexts:
        each.tokens.append(7)
    drafts.propose(contexts, 2)
    assert runner.rows[2:] == [3, 3]


def test_a_failed_pass_leaves_what_was_stored(folder: Path, oracle: Oracle) -> None:
    drafts, runner = proposer(folder)
    own = context(10)
    drafts.propose([own], 2)
    own.tokens.append(5)
    runner.fails = True
    with pytest.raises(ExecutionError):
        drafts.propose([own], 3)
    runner.fails = False
    check_tree(oracle, drafts.propose([own], 3)[0], own.tokens, 3)

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.llm.draft.matching import MAX_BRANCH, MAX_MATCH, longest_match, match_before, sprout
from paceline.llm.draft.tree import MAX_NODES, NO_DRAFT, defect

FEW_TOKENS = st.integers(min_value=0, max_value=2)


def ends_of(text: str, part: str) -> list[int]:
    """Where ``part`` ends in ``text``, but for the very end."""
    return [end for end in range(len(part), len(text)) if text[end - len(part) : end] == part]


def slow_longest_match(text: str, shortest: int) -> tuple[int, int]:
    for length in range(min(MAX_MATCH, len(text) - 1), shortest - 1, -1):
        if ends := ends_of(text, text[-length:]):
            return ends[-1], length
    return 0, 0


@given(st.text("ab", max_size=80) | st.text("abcd", max_size=40), st.integers(1, 4))
def test_longest_match_equals_brute_force(text: str, shortest: int) -> None:
    assert longest_match(text, shortest) == slow_longest_match(text, shortest)


@given(st.text("ab", max_size=60))
def test_match_before_is_the_occurrence_before(text: str) -> None:
    at, length = longest_match(text, 1)
    if at:
        earlier = [end for end in ends_of(text, text[-length:]) if end < at]
        assert match_before(text, at, length) == (earlier[-1] if earlier else 0)


@pytest.mark.parametrize("text", ["", "a", "ab", "abcdefgh"])
def test_no_match_without_repetition(text: str) -> None:
    assert longest_match(text, 2) == (0, 0)


def test_characters_of_all_planes_match() -> None:
    """Token ids of large vocabularies fall on surrogates and beyond the basic plane."""
    text = "".join(map(chr, [0xD800, 0xDFFF, 0x10FFFF, 7, 0xD800, 0xDFFF]))
    assert longest_match(text, 2) == (2, 2)


@given(
    st.lists(FEW_TOKENS, max_size=MAX_NODES + 2),
    st.lists(FEW_TOKENS, max_size=MAX_NODES + 2),
    st.integers(1, MAX_MATCH + 3),
)
@settings(max_examples=200)
def test_trees_are_sound_and_hold_both_continuations(guess: list[int], second: list[int], length: int) -> None:
    tree = sprout(guess, second, length)
    assert defect(tree, vocab_size=3, max_depth=max(len(guess), len(second), 1)) is None
    assert tree.tokens[: len(guess)] == tuple(guess[:MAX_NODES])
    if guess:
        assert len(tree.path(second)) >= min(len(second), MAX_BRANCH, MAX_NODES - len(guess))


def test_nothing_follows_nothing() -> None:
    assert sprout([], [1, 2], 4) is NO_DRAFT


def test_survival_rises_with_the_match_and_with_depth() -> None:
    for second in ([], [1] * 8, [2] * 8):
        first = [sprout([1] * 8, second, length).survival[0] for length in range(2, MAX_MATCH + 1)]
        assert all(shorter < longer for shorter, longer in pairwise(first))
    for length in (2, 8, MAX_MATCH):
        survival = (1.0, *sprout([1] * 8, [], length).survival)
        shares = [below / above for above, below in pairwise(survival)]
        assert all(upper < lower for upper, lower in pairwise(shares))


def test_agreement_raises_survival_and_dispute_lowers_it() -> None:
    agreed, alone, disputed = (sprout([1, 1], second, 6).survival[0] for second in ([1, 1], [], [2, 2]))
    assert agreed > alone > disputed


def test_branch_begins_where_the_older_continuation_parts() -> None:
    tree = sprout([1, 2, 3], [1, 4, 5], 6)
    assert (tree.tokens, tree.parents) == ((1, 2, 3, 4, 5), (-1, 0, 1, 0, 3))
    assert tree.survival[0] > tree.survival[1] > tree.survival[3]


def test_where_one_continuation_ends_the_other_goes_on() -> None:
    longer = sprout([1, 2, 3], [1, 2], 6)
    assert longer == sprout([1, 2], [1, 2, 3], 6)
    assert longer.tokens == (1, 2, 3)
    assert longer.is_chain
    assert longer.survival[:2] == sprout([1, 2], [1, 2], 6).survival

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.llm.draft.lookup import PIECE, SHORTEST, Lookup, make
from paceline.llm.draft.matching import MAX_MATCH, MAX_VOCAB
from paceline.llm.draft.proposer import PROPOSERS, Context
from paceline.llm.draft.tree import NO_DRAFT, DraftTree, defect
from tests.llm.draft.setups import setup_for

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=40)


def propose(proposer: Lookup, context: Context, depth: int = 6) -> DraftTree:
    (tree,) = proposer.propose([context], depth)
    assert defect(tree, MAX_VOCAB, depth) is None
    return tree


def slow_guess(tokens: list[int], depth: int) -> list[int]:
    """What followed the latest of the longest earlier matches of the end, copied token by token."""
    num = len(tokens)
    for length in range(num - 1, SHORTEST - 1, -1):
        for end in range(num - 1, length - 1, -1):
            if tokens[end - length : end] == tokens[num - length :]:
                text = list(tokens)
                for index in range(depth):
                    text.append(text[end + index])
                return text[num:]
    return []


@given(TOKENS, TOKENS, st.data())
def test_proposals_equal_brute_force_as_the_text_grows(
    prompt: list[int], output: list[int], data: st.DataObject
) -> None:
    """The kept match is always the one a search from the beginning would find."""
    proposer, context = Lookup(), Context(list(prompt), len(prompt))
    while output and len(context.tokens) < MAX_MATCH:
        depth = data.draw(st.integers(1, 6))
        guess = slow_guess(context.tokens, depth)
        tree = propose(proposer, context, depth)
        assert list(tree.tokens[: len(guess)]) == guess
        assert bool(tree) == bool(guess)
        assert tree == propose(proposer, context, depth)
        num = data.draw(st.integers(1, 4))
        context.tokens.extend(output[:num])
        output = output[num:]


@given(TOKENS, st.lists(st.integers(1, 5), min_size=1, max_size=12))
@settings(max_examples=50)
def test_text_that_follows_the_draft_keeps_it(prompt: list[int], steps: list[int]) -> None:
    """Accepting a whole draft, the next one is what the chain would have been had it been asked deeper."""
    proposer, context = Lookup(), Context(list(prompt), len(prompt))
    deep = propose(Lookup(), Context(list(prompt), len(prompt)), 63).tokens
    num = 0
    for step in steps:
        tree = propose(proposer, context, step)
        if not tree or num + step > 63:
            break
        assert tree.tokens[:step] == deep[num : num + step]
        context.tokens.extend(tree.tokens[:step])
        num += step


@pytest.mark.parametrize("period", [1, 2, 3, 5])
def test_repetition_continues_beyond_the_end_of_the_text(period: int) -> None:
    pattern = list(range(10, 10 + period))
    tokens = (pattern * 4)[: period + 2]
    tree = propose(Lookup(), Context(tokens, 1), 12)
    assert list(tokens) + list(tree.tokens) == (pattern * 20)[: len(tokens) + 12]


def test_one_token_is_no_match() -> None:
    assert propose(Lookup(), Context([1, 2, 3, 1], 4)) is NO_DRAFT


def test_two_continuations_give_two_branches_and_the_text_may_follow_either() -> None:
    proposer, context = Lookup(), Context([1, 2, 3, 4, 8, 1, 2, 5, 6, 9, 1, 2], 12)
    tree = propose(proposer, context, 2)
    assert (tree.tokens, tree.parents) == ((5, 6, 3, 4), (-1, 0, -1, 2))
    context.tokens.append(3)
    assert propose(proposer, context, 2).tokens == (4, 8)


def test_survival_grows_with_the_match_that_is_followed() -> None:
    context = Context([*range(20), 0, 1], 22)
    proposer = Lookup()
    first = []
    for token in range(2, 8):
        first.append(propose(proposer, context).survival[0])
        context.tokens.append(token)
    assert first == sorted(set(first))


def test_many_sequences_do_not_disturb_each_other() -> None:
    contexts = [Context([number, number + 1, 50, number, number + 1], 5) for number in range(4)]
    trees = Lookup().propose(contexts, 2)
    assert [tree.tokens for tree in trees] == [(50, number) for number in range(4)]


def test_long_prompt_is_read_in_pieces() -> None:
    tokens = [1, 2, 3, *range(100, 100 + 2 * PIECE), 1, 2]
    proposer, context = Lookup(), Context(tokens, len(tokens))
    assert propose(proposer, context) is NO_DRAFT
    tokens.append(3)
    assert propose(proposer, context) is NO_DRAFT
    assert propose(proposer, context).tokens[:2] == (100, 101)


def test_survives_text_that_was_cut_back() -> None:
    proposer, context = Lookup(), Context([1, 2, 3, 4, 1, 2], 3)
    assert propose(proposer, context).tokens[:2] == (3, 4)
    context.tokens[:] = [5, 6, 7, 5, 6]
    assert propose(proposer, context).tokens[:1] == (7,)


def test_survives_text_that_was_cut_back_while_it_was_read() -> None:
    tokens = list(range(PIECE + 5))
    proposer, context = Lookup(), Context(tokens, len(tokens))
    propose(proposer, context)
    tokens[:] = [5, 6, 7, 5, 6]
    assert propose(proposer, context).tokens[:1] == (7,)


def test_finish_forgets_everything() -> None:
    proposer = Lookup()
    contexts = [Context([1, 2, 1, 2], 2) for _ in range(3)]
    proposer.propose(contexts, 2)
    for context in contexts[:2]:
        proposer.finish(context)
    assert list(proposer._readers) == contexts[2:]
    proposer.finish(Context([1], 1))
    proposer.close()
    assert not proposer._readers


def test_answers_in_plain_integers() -> None:
    tokens: list[int] = list(np.array([300, 400, 500, 300, 400]))
    tree = propose(Lookup(), Context(tokens, 5))
    assert [type(token) for token in tree.tokens] == [int] * 6
    assert tree.tokens[0] == 500


def test_has_no_state_to_catch_up() -> None:
    proposer, context = Lookup(), Context([1, 2, 1, 2], 2)
    assert proposer.catch_up([context, context]) == [(0, 0), (0, 0)]
    assert proposer.num_missed(context) == 0


def test_made_by_name() -> None:
    assert isinstance(PROPOSERS["lookup"](setup_for()), Lookup)
    assert make(setup_for(vocab_size=MAX_VOCAB + 1)) is None

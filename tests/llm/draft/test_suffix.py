import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.llm.draft.matching import MAX_MATCH
from paceline.llm.draft.proposer import PROPOSERS, Context
from paceline.llm.draft.suffix import MAX_CANDIDATES, MAX_SEQUENCE, NUM_CHAINS, PIECE, SHORTEST, Store, Suffix, make
from paceline.llm.draft.tree import NO_DRAFT, DraftTree, defect
from tests.llm.draft.setups import setup_for

TOKENS = st.lists(st.integers(0, 3), min_size=2, max_size=14)
LINE = [*range(10, 30)]


def finished(proposer: Suffix, tokens: list[int], salt: str = "") -> None:
    proposer.finish(Context(list(tokens), 1, salt=salt))


def propose(proposer: Suffix, context: Context, depth: int = 6) -> DraftTree:
    (tree,) = proposer.propose([context], depth)
    assert defect(tree, 1 << 31, depth) is None
    return tree


def slow_guess(texts: list[list[int]], tokens: list[int], depth: int) -> list[int]:
    """What followed the latest of the longest matches of the end of ``tokens``."""
    for length in range(min(len(tokens), MAX_MATCH), SHORTEST - 1, -1):
        for text in reversed(texts):
            for end in range(len(text) - 1, length - 1, -1):
                if text[end - length : end] == tokens[len(tokens) - length :]:
                    return text[end : end + depth]
    return []


@given(st.lists(TOKENS, max_size=3), TOKENS)
@settings(max_examples=200)
def test_a_search_equals_brute_force(texts: list[list[int]], tokens: list[int]) -> None:
    proposer = Suffix()
    for text in texts:
        finished(proposer, text)
    guess = slow_guess(texts, tokens, 4)
    tree = propose(proposer, Context(list(tokens), 1), 4)
    num = sum(len(text) for text in texts)
    if num <= MAX_CANDIDATES:
        assert list(tree.tokens[: len(guess)]) == guess
    assert bool(tree) == bool(guess)


@given(st.lists(TOKENS, min_size=1, max_size=3), TOKENS, TOKENS)
@settings(max_examples=200)
def test_a_match_that_is_followed_is_as_long_as_one_searched_for(
    texts: list[list[int]], prompt: list[int], output: list[int]
) -> None:
    texts = [text[:5] for text in texts]  # so that no chain is cut
    proposer, context = Suffix(), Context(list(prompt), len(prompt))
    for text in texts:
        finished(proposer, text)
    for token in output:
        context.tokens.append(token)
        fresh = Suffix()
        for text in texts:
            finished(fresh, text)
        propose(fresh, anew := Context(list(context.tokens), 1))
        propose(proposer, context)
        kept, searched = proposer._matches[context], fresh._matches[anew]
        assert (kept.length, kept.text[kept.at :]) == (searched.length, searched.text[searched.at :])


def test_proposes_what_followed_in_an_earlier_request() -> None:
    proposer = Suffix()
    finished(proposer, LINE)
    context = Context([1, 2, 11, 12, 13], 5)
    assert propose(proposer, context, 3).tokens == (14, 15, 16)
    context.tokens += [14, 15]
    assert propose(proposer, context, 3).tokens == (16, 17, 18)


def test_ends_where_the_earlier_request_ended() -> None:
    proposer = Suffix()
    finished(proposer, LINE)
    context = Context(LINE[-5:-2], 3)
    assert propose(proposer, context).tokens == (28, 29)
    context.tokens += [28, 29]
    assert propose(proposer, context) is NO_DRAFT


def test_own_text_is_not_searched() -> None:
    proposer = Suffix()
    assert propose(proposer, Context([1, 2, 3, 4, 1, 2, 3], 7)) is NO_DRAFT


def test_agreement_of_two_requests_raises_survival() -> None:
    once, twice = Suffix(), Suffix()
    finished(once, LINE)
    finished(twice, LINE)
    finished(twice, [5, *LINE])
    context = [Context(LINE[:4], 4) for _ in range(2)]
    alone, agreed = propose(once, context[0]), propose(twice, context[1])
    assert alone.tokens == agreed.tokens
    assert all(low < high for low, high in zip(alone.survival, agreed.survival, strict=True))


def test_two_requests_that_part_give_two_branches_and_the_text_may_follow_either() -> None:
    proposer = Suffix()
    finished(proposer, [1, 2, 3, 4, 5, 6])
    finished(proposer, [1, 2, 3, 7, 8, 9])
    context = Context([1, 2, 3], 3)
    tree = propose(proposer, context, 2)
    assert (tree.tokens, tree.parents) == ((7, 8, 4, 5), (-1, 0, -1, 2))
    context.tokens.append(4)
    assert propose(proposer, context, 2).tokens == (5, 6)


def test_salts_see_nothing_of_each_other() -> None:
    proposer = Suffix()
    finished(proposer, LINE, salt="a")
    finished(proposer, [*LINE[:6], 99], salt="b")
    a, b, c = (Context(LINE[:4], 4, salt=salt) for salt in ("a", "b", "c"))
    trees = proposer.propose([a, b, c], 4)
    assert [tree.tokens for tree in trees] == [(14, 15, 16, 17), (14, 15, 99), ()]


def test_requests_see_nothing_of_each_other_where_outputs_are_not_shared() -> None:
    assert make(setup_for(share_outputs=False)) is None
    assert isinstance(PROPOSERS["suffix"](setup_for()), Suffix)


def test_salt_used_least_recently_is_forgotten() -> None:
    proposer = Suffix(max_salts=2)
    contexts = {salt: Context(LINE[:4], 4, salt=salt) for salt in "abc"}
    finished(proposer, LINE, salt="a")
    finished(proposer, LINE, salt="b")
    assert propose(proposer, contexts["a"])
    finished(proposer, LINE, salt="c")
    assert propose(proposer, Context(LINE[:4], 4, salt="b")) is NO_DRAFT
    assert propose(proposer, contexts["c"])
    assert list(proposer._stores) == ["a", "c"]


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=60), max_size=12), st.integers(0, 40))
@settings(max_examples=50)
def test_memory_is_bounded_and_old_text_forgotten(texts: list[list[int]], budget: int) -> None:
    proposer = Suffix(max_tokens=50)
    for text in texts:
        finished(proposer, [*text, 0])
        store = proposer._stores[""]
        store.index(budget)
        held = [tokens for tokens, _ in store._texts.values()] + list(store._waiting)
        assert sum(map(len, held)) == store.num_tokens <= 50
        assert all(len(links) <= len(tokens) for tokens, links in store._texts.values())
        assert len(store._heads) in (0, NUM_CHAINS)


def test_oldest_text_is_forgotten_first() -> None:
    proposer = Suffix(max_tokens=50)
    for start in (100, 200, 300):
        finished(proposer, [*range(start, start + 20)])
        propose(proposer, Context([1, 2, 3], 3))
    trees = proposer.propose([Context([*range(start, start + 4)], 4) for start in (100, 200, 300)], 1)
    assert [tree.tokens for tree in trees] == [(), (204,), (304,)]


def test_long_sequence_is_kept_from_its_end() -> None:
    store = Store()
    store.add([*range(MAX_SEQUENCE + 9)])
    assert store.num_tokens == MAX_SEQUENCE


def test_indexes_piece_by_piece() -> None:
    proposer = Suffix()
    finished(proposer, [*range(2 * PIECE)])
    late = Context([PIECE + 10, PIECE + 11, PIECE + 12], 3)
    assert propose(proposer, late) is NO_DRAFT
    late.tokens[:] = [PIECE + 50 + step for step in range(4)]
    assert propose(proposer, late).tokens[0] == PIECE + 54


def test_unanswered_requests_are_not_kept() -> None:
    proposer = Suffix()
    proposer.finish(Context([1, 2, 3, 4], 4))
    assert not proposer._stores


def test_finish_forgets_the_sequence_but_not_its_text() -> None:
    proposer = Suffix()
    context = Context([*LINE], 4)
    propose(proposer, context)
    proposer.finish(context)
    assert not proposer._matches
    context.tokens.clear()
    assert propose(proposer, Context(LINE[:3], 3))
    proposer.close()
    assert (len(proposer._matches), len(proposer._stores)) == (0, 0)


def test_survives_text_that_was_cut_back() -> None:
    proposer = Suffix()
    finished(proposer, LINE)
    context = Context(LINE[:8], 4)
    assert propose(proposer, context).tokens[0] == 18
    context.tokens[:] = [1, 12, 13, 14]
    assert propose(proposer, context).tokens[0] == 15


@pytest.mark.parametrize("tokens", [[], [1], [1, 2]])
def test_short_texts_match_nothing(tokens: list[int]) -> None:
    proposer = Suffix()
    finished(proposer, [1, 2])
    finished(proposer, LINE)
    assert propose(proposer, Context(tokens, 0)) is NO_DRAFT


def test_answers_in_plain_integers() -> None:
    proposer = Suffix()
    finished(proposer, list(np.array(LINE)))
    tree = propose(proposer, Context(list(np.array(LINE[:4])), 4))
    assert [type(token) for token in tree.tokens] == [int] * 6


def test_has_no_state_to_catch_up() -> None:
    proposer, context = Suffix(), Context([1, 2, 1, 2], 2)
    assert proposer.catch_up([context, context]) == [(0, 0), (0, 0)]
    assert proposer.num_missed(context) == 0

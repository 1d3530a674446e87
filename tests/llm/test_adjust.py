"""Penalties, bias, bans and masks against their formulas, and their order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.errors import InvalidRequest
from paceline.llm.adjust import bad_word_tokens
from paceline.llm.request import SamplingParams
from paceline.llm.sampler import Choice
from tests.llm.logits import V, greedy, random_row, row, sampler


def penalised(
    logits: np.ndarray, prompt: tuple[int, ...], output: tuple[int, ...], params: SamplingParams
) -> np.ndarray:
    z = logits.copy()
    for token in {*prompt, *output}:
        z[token] = z[token] / params.repetition_penalty if z[token] > 0 else z[token] * params.repetition_penalty
    for token in set(output):
        z[token] -= np.float32(params.frequency_penalty) * output.count(token) + np.float32(params.presence_penalty)
    return z


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 9), max_size=12),
    st.lists(st.integers(0, 9), max_size=12),
    st.lists(st.integers(0, 9), max_size=4),
    st.integers(0, 1000),
)
def test_penalties_equal_their_formula(prompt: list[int], output: list[int], drafts: list[int], seed: int) -> None:
    logits = random_row(seed, 10, digits=5)
    made = sampler(
        10, prompt_ids=prompt, temperature=0.0, repetition_penalty=1.5, frequency_penalty=0.25, presence_penalty=-0.5
    )
    for token in output:  # grown and shrunk in every way
        made.add([token, 3, 4])
        made.rollback(2)
    z = penalised(logits, tuple(prompt), (*output, *drafts), made.params)
    chosen = made.choose(logits, drafts)
    assert isinstance(chosen, Choice)
    assert z[chosen.token_id] == pytest.approx(z.max(), abs=1e-5)


def test_long_outputs_are_counted() -> None:
    made = sampler(1000, temperature=0.0, presence_penalty=2.0, output=tuple(range(999)))
    assert made.choose(np.zeros(1000, dtype=np.float32)) == Choice(999)
    made.rollback(999)
    assert made.choose(np.zeros(1000, dtype=np.float32)) == Choice(0)


def test_penalties_may_overflow_without_harm() -> None:
    assert greedy(row(-3e38, 0, 3e38), repetition_penalty=10.0, prompt_ids=[0, 1]) == 2
    assert greedy(row(-3e38, 3e38, 2e38), repetition_penalty=0.01, prompt_ids=[0, 1, 2]) == 1


def test_bias_moves_a_token() -> None:
    assert greedy(row(1, 2, 3), logit_bias={0: 5.0}) == 0
    assert greedy(row(1, 2, 3), logit_bias={2: -100.0}) == 1


def test_bias_comes_after_penalties() -> None:
    assert greedy(row(0, 4), logit_bias={0: 3.0}, repetition_penalty=2.0, prompt_ids=[0, 1]) == 0


@pytest.mark.parametrize("ids", [{60: 1.0}, {-1: 1.0}])
def test_bias_names_tokens_of_the_model(ids: dict[int, float]) -> None:
    with pytest.raises(InvalidRequest, match=r"ids must be in \[0, 60\)") as caught:
        sampler(logit_bias=ids)
    assert caught.value.param == "logit_bias"


def test_stop_tokens_are_tokens_of_the_model() -> None:
    with pytest.raises(InvalidRequest) as caught:
        sampler(stop_token_ids=(60,))
    assert caught.value.param == "stop_token_ids"


def test_bad_words_are_banned_at_their_last_token() -> None:
    logits = row(0, 1, 2, 3)
    assert greedy(logits, bad_words=[(3,)]) == 2
    assert greedy(logits, bad_words=[(1, 2, 3)]) == 3
    assert greedy(logits, bad_words=[(1, 2, 3)], output=(1, 2)) == 2
    assert greedy(logits, bad_words=[(1, 2, 3)], output=(2,)) == 3
    assert sampler(4, temperature=0.0, bad_words=[(1, 2, 3)], output=(1,)).choose(logits, (2,)) == Choice(2)


def test_bad_words_are_spelled_with_and_without_a_space() -> None:
    assert bad_word_tokens(["a", " a"], lambda text: list(text.encode())) == [(97,), (32, 97)]


def test_min_tokens_holds_the_end_back() -> None:
    options = {"min_tokens": 2, "eos_ids": (3,), "stop_token_ids": (2,)}
    assert greedy(row(0, 1, 2, 3), **options) == 1
    assert greedy(row(0, 1, 2, 3), **options, output=(0,)) == 1
    assert greedy(row(0, 1, 2, 3), **options, output=(0, 0)) == 3
    assert greedy(row(0, 1, 2, 3), **options, ignore_eos=True) == 3


def test_a_finished_grammar_ends_below_min_tokens() -> None:
    made = sampler(4, temperature=0.0, min_tokens=5, eos_ids=(3,))
    assert made.choose(row(0, 1, 2, 3), mask=np.array([False, False, False, True])) == Choice(3)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_only_what_the_mask_allows_is_chosen(temperature: float) -> None:
    made = sampler(temperature=temperature)
    mask = np.zeros(V, dtype=np.bool_)
    mask[[7, 8]] = True
    chosen = {made.choose(random_row(seed), (0,) * seed, mask).token_id for seed in range(20)}  # type: ignore[union-attr]
    assert chosen == {7, 8}

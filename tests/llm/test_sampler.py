"""Choosing tokens: every option against a plain reference, one rule whatever the batch."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.llm.logprobs import token_logprob
from paceline.llm.noise import gumbel
from paceline.llm.request import SamplingParams
from paceline.llm.sampler import Choice, FailedRow, Row, choose_rows
from tests.llm.logits import INF, V, greedy, random_row, row, sampler


def reference(logits: np.ndarray, params: SamplingParams, seed: int, position: int) -> int:
    """Softmax, full sorts, all the noise."""
    z = logits.astype(np.float64)
    keep = np.isfinite(z)
    if params.top_k:
        keep &= z >= np.sort(z)[::-1][: params.top_k][-1]
    scores = (z - z.max()) / params.temperature
    mass = np.where(keep, np.exp(scores), 0.0)
    order = np.lexsort((np.arange(len(z)), -z))
    before = np.cumsum(mass[order]) - mass[order]
    nucleus = np.empty_like(keep)
    nucleus[order] = before < params.top_p * mass.sum() - 1e-12
    keep &= nucleus | (params.top_p == 1.0)
    keep &= np.exp(scores) >= params.min_p
    return int(np.where(keep, scores + gumbel(seed, position, np.arange(len(z))), -INF).argmax())


# ── the rule ─────────────────────────────────────────────────────────────────────────────────────


@settings(deadline=None, max_examples=300)
@given(
    logits_seed=st.integers(0, 10_000),
    scale=st.sampled_from([0.0, 0.5, 3.0, 20.0]),
    temperature=st.sampled_from([0.1, 0.7, 1.0, 3.0]),
    top_k=st.sampled_from([0, 1, 3, 20, 200]),
    top_p=st.sampled_from([1.0, 0.95, 0.5, 0.1, 1e-6]),
    min_p=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    position=st.integers(0, 3),
)
def test_draws_equal_the_plain_reference(
    logits_seed: int, scale: float, temperature: float, top_k: int, top_p: float, min_p: float, position: int
) -> None:
    logits = random_row(logits_seed, scale=scale)
    logits[5] = -INF
    made = sampler(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=77, output=(1,) * position)
    chosen = made.choose(logits)
    assert isinstance(chosen, Choice)
    assert chosen.token_id == reference(logits, made.params, 77, position)


@pytest.mark.parametrize("size", [8192, 20_000])
def test_draws_from_a_large_vocabulary_equal_the_reference(size: int) -> None:
    for seed, options in itertools.product(range(3), ({}, {"top_p": 0.9}, {"top_k": 50, "top_p": 0.8}, {"min_p": 0.1})):
        logits = random_row(seed, size, digits=3)
        made = sampler(size, seed=seed, **options)
        assert made.choose(logits) == Choice(reference(logits, made.params, seed, 0))


def test_temperature_zero_takes_the_best_and_the_lowest_of_a_tie() -> None:
    assert greedy(row(1, 3, 3, 2)) == 1
    assert greedy(row(-INF, -INF, 0)) == 2


@pytest.mark.parametrize("temperature", [1e-300, 1e-9, 1e-5])
def test_tiny_temperatures_act_as_greedy(temperature: float) -> None:
    logits = row(1e30, 0, 2e30, -1e30)
    assert sampler(4, temperature=temperature).choose(logits) == Choice(2)


def test_the_position_counts_output_and_drafts() -> None:
    logits = random_row(1)
    by_output = [sampler(seed=3, output=(0,) * n).choose(logits) for n in range(8)]
    by_drafts = [sampler(seed=3).choose(logits, (0,) * n) for n in range(8)]
    assert by_output == by_drafts
    assert len(set(by_output)) > 1


def test_drafts_leave_no_trace() -> None:
    made = sampler(seed=3, output=(1, 2), repetition_penalty=1.3, frequency_penalty=0.5)
    logits = random_row(2)
    first = made.choose(logits)
    made.choose(logits, (5, 6, 7, 5))
    assert made.choose(logits) == first
    assert made.num_output == 2


OPTIONS = (
    {"temperature": 0.0},
    {"temperature": 0.0, "logprobs": 3},
    {"temperature": 1.0},
    {"temperature": 0.7, "top_k": 7, "top_p": 0.8, "min_p": 0.01},
    {"repetition_penalty": 1.4, "presence_penalty": 0.3, "frequency_penalty": 0.2, "prompt_ids": [1, 1, 4]},
    {"logit_bias": {3: 5.0, 7: -100.0}, "bad_words": [(1,), (2, 3)], "logprobs": 2},
    {"min_tokens": 4, "eos_ids": (0,), "stop_token_ids": (9,)},
)


@settings(deadline=None, max_examples=50)
@given(st.permutations(range(len(OPTIONS) * 2)), st.integers(0, 100))
def test_a_row_does_not_depend_on_its_batch(order: list[int], seed: int) -> None:
    rows = [
        Row(sampler(seed=seed + i, output=(1, 2), **options), (2, 4)[:drafts], mask)
        for i, options in enumerate(OPTIONS)
        for drafts, mask in ((0, None), (2, np.arange(V) % 3 > 0))
    ]
    logits = np.stack([random_row(seed * 100 + i) for i in range(len(rows))])
    alone = [choose_rows(logits[i : i + 1], [one])[0] for i, one in enumerate(rows)]
    together = choose_rows(logits[order], [rows[i] for i in order])
    assert together == [alone[i] for i in order]
    assert alone == [one.sampler.choose(logits[i], one.drafts_above, one.mask) for i, one in enumerate(rows)]


def test_logits_are_left_as_they_are() -> None:
    logits = np.stack([random_row(i) for i in range(len(OPTIONS))])
    before = logits.copy()
    choose_rows(logits, [Row(sampler(**options), mask=np.arange(V) > 5) for options in OPTIONS])
    assert np.array_equal(before, logits)


def test_samples_follow_the_softmax() -> None:
    logits = row(1.0, 0.0, -1.0, 2.0)
    made = sampler(4, seed=5)
    counts = np.bincount([made.choose(logits, (0,) * n).token_id for n in range(4000)], minlength=4)  # type: ignore[union-attr]
    expected = np.exp(logits) / np.exp(logits).sum() * 4000
    assert float(((counts - expected) ** 2 / expected).sum()) < 30.0


# ── broken rows ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("place", [0, 8, 59])
def test_a_broken_row_fails_alone(temperature: float, place: int) -> None:
    logits = np.stack([random_row(1), random_row(2), random_row(3), np.full(V, -INF, dtype=np.float32)])
    healthy = choose_rows(logits[:1], [Row(sampler(temperature=temperature))])[0]
    logits[1, place] = np.nan
    logits[2, 3] = INF
    mask = np.arange(V) != place
    rows = [Row(sampler(temperature=temperature), mask=m) for m in (None, mask, None, None)]
    broken = FailedRow("not_a_number")
    assert choose_rows(logits, rows) == [healthy, broken, Choice(3), broken]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_infinite_logits_share_the_probability(temperature: float) -> None:
    made = sampler(4, temperature=temperature, logprobs=1)
    seen = {made.choose(row(1, INF, INF, -INF), (0,) * n) for n in range(20)}
    assert {choice.token_id for choice in seen} == ({1} if temperature == 0 else {1, 2})  # type: ignore[union-attr]
    assert {round(math.exp(choice.logprob.logprob), 6) for choice in seen} == {0.5}  # type: ignore[union-attr]


def test_a_row_without_allowed_tokens_fails() -> None:
    assert greedy(row(0, 1), bad_words=[(0,), (1,)]) == "nothing_allowed"
    assert sampler(2).choose(row(0, 1), mask=np.zeros(2, dtype=np.bool_)) == FailedRow("nothing_allowed")
    assert sampler(2).choose(row(-INF, 1), mask=np.array([True, False])) == FailedRow("nothing_allowed")


def test_logprobs_are_those_of_the_model_not_of_the_options() -> None:
    logits = random_row(4)
    made = sampler(temperature=0.3, top_k=2, logit_bias={9: 100.0}, logprobs=1)
    chosen = made.choose(logits)
    assert isinstance(chosen, Choice)
    assert chosen == Choice(9, token_logprob(logits, 9, 1))

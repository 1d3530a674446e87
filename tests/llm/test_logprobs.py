"""Log-probabilities against a plain log-softmax."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.llm.logprobs import MIN_LOGPROB, kth_largest, token_logprob
from tests.llm.logits import INF, random_row, row


@settings(deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1, 5, 60, 700, 9000]), st.integers(0, 20))
def test_logprobs_equal_log_softmax(seed: int, size: int, num_top: int) -> None:
    logits = random_row(seed, size)
    z = logits.astype(np.float64)
    expected = z - np.log(np.exp(z - z.max()).sum()) - z.max()
    got = token_logprob(logits, size // 2, num_top)
    order = np.lexsort((np.arange(size), -z))[:num_top]
    assert got.logprob == pytest.approx(expected[size // 2])
    assert [token for token, _ in got.top] == order.tolist()
    assert [value for _, value in got.top] == pytest.approx(expected[order].tolist())


def test_logprobs_stay_finite() -> None:
    logits = row(3e38, -3e38, -INF)
    assert token_logprob(logits, 2, 3).top == ((0, 0.0), (1, MIN_LOGPROB), (2, MIN_LOGPROB))


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=3000), st.integers(1, 40))
def test_kth_largest(values: list[float], k: int) -> None:
    expected = sorted(values, reverse=True)[k - 1] if k <= len(values) else -math.inf
    assert kth_largest(np.array(values, dtype=np.float32), k) == expected

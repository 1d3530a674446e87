"""Drawing in one call gives what drawing with numpy gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.llm.native import library
from paceline.llm.native.draw import drawing
from paceline.llm.noise import coupled_argmax, noise_key

pytestmark = pytest.mark.skipif(library.obstacle() is not None, reason="the kernels cannot run here")


def by_numpy(logits: np.ndarray, temperature: float, key: int) -> int:
    scores = (logits.astype(np.float64) - float(logits.max())) / temperature
    return coupled_argmax(scores, None, key)


def winner(logits: np.ndarray, temperature: float, key: int) -> int:
    native = drawing()
    assert native is not None
    found = native.nearest(logits, int(logits.argmax()), temperature, key)
    assert found is not None
    if len(found) == 1:
        return found[0]
    ids = np.array(found)
    scores = (logits[ids].astype(np.float64) - float(logits.max())) / temperature
    return found[coupled_argmax(scores, ids, key)]


@given(
    st.integers(1, 300),
    st.integers(0, 2**32 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([1e-6, 0.05, 0.7, 1.0, 3.0, 100.0]),
    st.sampled_from([0.0, 0.5, 8.0, 200.0]),
)
def test_it_draws_what_numpy_draws(size: int, numbers: int, seed: int, temperature: float, spread: float) -> None:
    logits = np.random.default_rng(numbers).normal(0.0, spread, size).astype(np.float32)
    key = noise_key(seed, numbers % 1000)
    assert winner(logits, temperature, key) == by_numpy(logits, temperature, key)


def test_tokens_that_are_not_allowed_are_not_drawn() -> None:
    logits = np.full(1000, -np.inf, np.float32)
    logits[[5, 700]] = [1.0, 1.5]
    drawn = {winner(logits, 1.0, noise_key(0, position)) for position in range(64)}
    assert drawn == {5, 700}


def test_draws_follow_the_softmax() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    drawn = [winner(logits, 1.0, noise_key(7, position)) for position in range(4000)]
    shares = np.bincount(drawn, minlength=3) / len(drawn)
    assert np.abs(shares - [0.5, 0.3, 0.2]).max() < 0.03

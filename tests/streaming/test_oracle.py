"""Oracles and what is made of them, against search by hand."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.streaming import oracle


def made(seed: int, shape: tuple[int, int, int] = (3, 2, 4)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 30, shape), rng.integers(0, 40, shape[1:])


def test_scores_are_ratios_of_sums() -> None:
    errors = np.array([[[1, 3]], [[2, 0]]])
    truths = np.array([[4, 4]])
    assert oracle.scores(errors, truths, np.array([[0, 1]])).tolist() == [1 - 1 / 8]
    assert oracle.best_static(errors, truths) == 1
    assert np.isnan(oracle.scores(errors, 0 * truths, np.array([[0, 0]]))).all()


def test_ties_stay_with_the_static_configuration() -> None:
    assert oracle.window_oracle(np.array([[[1, 0]], [[1, 1]]]), 1).tolist() == [[1, 0]]


def test_the_previous_window_decides_the_next() -> None:
    errors = np.array([[[5, 0, 5]], [[0, 5, 0]]])
    assert oracle.previous_window_oracle(errors, 0).tolist() == [[0, 1, 0]]
    assert oracle.log_oracle(errors).tolist() == [[1, 1, 1]]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), cost=st.sampled_from([0.0, 0.5, 3.0, 20.0, 1e6]))
def test_the_course_is_the_best_of_all(seed: int, cost: float) -> None:
    errors, _ = made(seed)
    for log, course in enumerate(oracle.path_oracle(errors, cost)):

        def total(choice: tuple[int, ...], log: int = log) -> float:
            changes = sum(one != other for one, other in pairwise(choice))
            return sum(errors[c, log, w] for w, c in enumerate(choice)) + cost * changes

        assert total(tuple(course)) == min(total(each) for each in product(range(3), repeat=4))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_oracles_are_ordered(seed: int) -> None:
    errors, truths = made(seed, (4, 5, 6))
    truths = truths + 1
    static = oracle.best_static(errors, truths)

    def mean(choice: np.ndarray) -> float:
        return float(oracle.scores(errors, truths, choice).mean())

    window, log = oracle.window_oracle(errors, static), oracle.log_oracle(errors)
    assert mean(window) >= mean(log) >= mean(oracle.always(static, truths))
    assert mean(window) >= mean(oracle.path_oracle(errors, 2.0))
    assert (oracle.path_oracle(errors, 1e9) == log).all() or mean(oracle.path_oracle(errors, 1e9)) == mean(log)


def test_share_closed_and_its_interval() -> None:
    static, best = np.array([0.1, 0.2, 0.3]), np.array([0.3, 0.4, 0.5])
    half = oracle.share_closed((static + best) / 2, static, best)
    assert (half.value, half.low, half.high) == pytest.approx((0.5, 0.5, 0.5))
    assert oracle.share_closed(static, static, best).value == 0
    assert np.isnan(oracle.share_closed(static, static, static).value)
    mixed = oracle.share_closed(np.array([0.3, 0.2, 0.2]), static, best)
    assert mixed.low < mixed.value < mixed.high
    assert oracle.regret(static, best) == pytest.approx(0.2)


def test_intervals_leave_out_logs_without_objects() -> None:
    assert oracle.interval(np.array([1.0, np.nan, 1.0])) == oracle.Interval(1.0, 1.0, 1.0)
    assert np.isnan(oracle.interval(np.full(2, np.nan)).value)
    assert np.isnan(oracle.worst(np.full(2, np.nan), np.full(2, np.nan)))


def test_the_worst_logs() -> None:
    static = np.zeros(40)
    policy = np.linspace(-0.2, 0.19, 40)
    assert oracle.worst(policy, static) == pytest.approx(-0.195)


def test_a_gain_is_accuracy_less_degradation() -> None:
    errors, truths = made(3)
    offline = np.minimum(errors, 5), np.broadcast_to(truths + 1, errors.shape)
    streaming = errors, np.broadcast_to(truths + 1, errors.shape)
    choice = oracle.window_oracle(errors, 0)
    parts = oracle.split(streaming, offline, choice, 0)
    assert parts.gain == pytest.approx(parts.accuracy - parts.degradation)
    expected = oracle.scores(errors, truths + 1, choice) - oracle.scores(errors, truths + 1, 0 * choice)
    assert parts.gain == pytest.approx(expected.mean())


def test_histograms_name_what_was_chosen() -> None:
    assert oracle.histogram(np.array([[0, 2], [2, 2]]), ("a", "b", "c")) == {"a": 0.25, "c": 0.75}

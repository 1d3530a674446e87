"""The ratio is learned per bucket, is bounded, and reaches buckets that saw nothing."""

from __future__ import annotations

import math

import pytest

from paceline.decision import UNKNOWN, Calibrated, Estimate, Table
from paceline.errors import ConfigError


class Fixed:
    def __init__(self, seconds: float = 0.010) -> None:
        self.seconds = seconds
        self.seen = 0

    def predict(self, features: object) -> Estimate:
        return Estimate(self.seconds, 0.001, 3)

    def observe(self, features: object, seconds: float) -> None:
        self.seen += 1


def test_each_bucket_has_its_own_ratio() -> None:
    model = Calibrated(Fixed())
    for _ in range(200):
        model.observe([4], 0.012)
        model.observe([100], 0.008)
    assert model.predict([5]) == Estimate(pytest.approx(0.012), pytest.approx(0.0012), 3)  # type: ignore[arg-type]
    assert model.ratio([120]) == pytest.approx(0.8)
    assert 0.9 < model.ratio([1000]) < 1.1  # saw nothing: what all see together


@pytest.mark.parametrize(("actual", "ratio"), [(10.0, 2.0), (1e-6, 0.5)])
def test_the_ratio_is_bounded(actual: float, ratio: float) -> None:
    model = Calibrated(Fixed())
    for _ in range(300):
        model.observe([4], actual)
    assert model.ratio([4]) == pytest.approx(ratio)


def test_one_step_moves_it_by_its_weight() -> None:
    model = Calibrated(Fixed(), weight=0.25)
    model.observe([1], 0.020)
    assert model.ratio([1]) == pytest.approx(1.25)


def test_the_inner_model_learns_and_useless_steps_are_dropped() -> None:
    inner = Fixed()
    model = Calibrated(inner)
    model.observe([1], math.nan)
    assert inner.seen == 0
    model.observe([1], 0.010)
    assert inner.seen == 1
    empty = Calibrated(Table([[1.0]]))
    assert empty.predict([1.0]) == UNKNOWN
    empty.observe([1.0], 0.01)
    assert empty.ratio([1.0]) == 1.0


def test_weight_is_checked() -> None:
    with pytest.raises(ConfigError, match="weight"):
        Calibrated(Fixed(), weight=0.0)

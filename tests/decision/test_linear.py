"""Least squares: finds a line, follows it, and does not wind up."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.decision import Linear
from paceline.errors import ConfigError


def learn(model: Linear, weights: tuple[float, float, float], num: int, noise: float = 0.0, seed: int = 0) -> None:
    rng = random.Random(seed)
    for _ in range(num):
        rows, context = rng.randint(1, 64), rng.randint(0, 4000)
        truth = weights[0] + weights[1] * rows + weights[2] * context
        model.observe([rows, context], truth * max(0.05, 1.0 + noise * rng.gauss(0.0, 1.0)))


@given(
    constant=st.floats(1e-4, 0.1),
    slope=st.floats(0.0, 1e-3),
    other=st.floats(0.0, 1e-5),
    seed=st.integers(0, 1000),
)
def test_converges_on_any_line(constant: float, slope: float, other: float, seed: int) -> None:
    model = Linear([64.0, 4000.0])
    learn(model, (constant, slope, other), 60, seed=seed)
    for rows, context in ((1, 0), (64, 4000), (30, 100)):
        truth = constant + slope * rows + other * context
        assert model.predict([rows, context]).mean_s == pytest.approx(truth, rel=0.01)


@given(st.integers(0, 1000))
def test_noise_averages_out(seed: int) -> None:
    model = Linear([64.0, 4000.0])
    learn(model, (0.005, 2e-4, 1e-6), 400, noise=0.1, seed=seed)
    estimate = model.predict([32, 2000])
    assert estimate.mean_s == pytest.approx(0.005 + 0.0064 + 0.002, rel=0.06)
    assert estimate.std_s == pytest.approx(0.1 * estimate.mean_s, rel=0.5)


@pytest.mark.parametrize("forgetting", [0.98, 0.99, 0.995])
def test_tracks_drift(forgetting: float) -> None:
    model = Linear([64.0, 4000.0], forgetting=forgetting)
    learn(model, (0.005, 2e-4, 1e-6), 1000, noise=0.03)
    learn(model, (0.005, 4e-4, 1e-6), round(6 / (1.0 - forgetting)), noise=0.03, seed=1)
    assert model.predict([64, 0]).mean_s == pytest.approx(0.005 + 4e-4 * 64, rel=0.05)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_constant_load_neither_winds_up_nor_stops_the_tracking(noise: float) -> None:
    model = Linear([64.0, 4000.0], forgetting=0.98)
    learn(model, (0.005, 2e-4, 1e-6), 300, noise=noise)
    rng = random.Random(1)
    usual = 0.005 + 2e-4 * 8 + 1e-6 * 500
    for _ in range(20_000):
        model.observe([8, 500], usual * (1.0 + noise * rng.gauss(0.0, 1.0)))
    assert sum(row[i] for i, row in enumerate(model._covariance)) < 1e-3
    assert model.predict([64, 4000]).mean_s == pytest.approx(0.005 + 2e-4 * 64 + 1e-6 * 4000, rel=0.1)
    for _ in range(300):
        model.observe([8, 500], 1.3 * usual)
    assert model.predict([8, 500]).mean_s == pytest.approx(1.3 * usual, rel=0.03)


def test_an_outlier_pulls_no_more_than_three_deviations() -> None:
    model = Linear([64.0, 4000.0])
    learn(model, (0.005, 2e-4, 1e-6), 200, noise=0.02)
    before = model.predict([8, 500]).mean_s
    model.observe([8, 500], 10.0)
    assert before < model.predict([8, 500]).mean_s < 1.005 * before


def test_no_coefficient_is_negative_and_the_others_follow() -> None:
    model = Linear([64.0, 4000.0])
    learn(model, (0.005, 2e-4, 1e-6), 20, noise=0.3)
    assert min(model.coefficients) >= 0.0
    falling = Linear([10.0], non_negative=False)
    for x in range(1, 10):
        falling.observe([x], 1.0 - 0.05 * x)
    assert falling.coefficients == pytest.approx((1.0, -0.05), rel=0.01)
    flat = Linear([10.0])
    for _ in range(20):
        for x in range(1, 10):
            flat.observe([x], 1.0 - 0.05 * x)
    assert flat.coefficients[1] == 0.0
    assert 0.5 < flat.predict([5]).mean_s < 1.0


def test_a_prior_answers_before_the_first_step() -> None:
    model = Linear([64.0], prior=(0.005, 1e-4), prior_std_s=0.001)
    assert model.predict([10]).mean_s == pytest.approx(0.006)
    assert model.predict([10]).num_observations == 0
    assert model.coefficients == pytest.approx((0.005, 1e-4))


def test_a_hinge_is_a_basis() -> None:
    def with_knee(features: list[float]) -> list[float]:
        return [features[0], max(0.0, features[0] - 16.0)]

    model = Linear([64.0, 48.0], basis=with_knee)  # type: ignore[arg-type]
    for _ in range(5):
        for rows in range(1, 65, 3):
            model.observe([rows], 0.005 + 1e-5 * rows + 3e-4 * max(0, rows - 16))
    assert model.predict([8]).mean_s == pytest.approx(0.00508, rel=0.01)
    assert model.predict([40]).mean_s == pytest.approx(0.0126, rel=0.01)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"scales": [0.0]}, "scales"),
        ({"scales": [1.0], "forgetting": 0.5}, "forgetting"),
        ({"scales": [1.0], "prior": (1.0,)}, "prior"),
    ],
)
def test_options_are_checked(options: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Linear(**options)  # type: ignore[arg-type]

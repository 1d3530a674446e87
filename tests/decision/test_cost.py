"""One suite for every registered cost model."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from paceline.decision import COST_MODELS, UNKNOWN, CostModel

AXES = [[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0], [0.0, 1024.0, 4096.0]]  # rows, context tokens


def line(rows: float, context: float) -> float:
    return 0.005 + 1e-4 * rows + 1e-6 * context


def trained(name: str, cost: Callable[[float, float], float] = line, noise: float = 0.02) -> CostModel:
    model = COST_MODELS[name](AXES)
    rng = random.Random(0)
    for _ in range(30):
        for rows in AXES[0]:
            for context in AXES[1]:
                model.observe([rows, context], cost(rows, context) * (1.0 + noise * rng.gauss(0.0, 1.0)))
    return model


every_model = pytest.mark.parametrize("name", sorted(COST_MODELS))


@every_model
def test_learns_a_line(name: str) -> None:
    model = trained(name)
    for point in ([1.0, 0.0], [32.0, 1024.0], [24.0, 2000.0], [5.0, 500.0]):
        estimate = model.predict(point)
        assert estimate.mean_s == pytest.approx(line(*point), rel=0.05)
        assert estimate.num_observations > 0
        assert 0.0 <= estimate.std_s < 0.1 * estimate.mean_s


@every_model
def test_knows_what_it_does_not_know(name: str) -> None:
    assert COST_MODELS[name](AXES).predict([4.0, 0.0]) == UNKNOWN


@every_model
def test_follows_a_change(name: str) -> None:
    model = trained(name)
    for _ in range(60):
        for rows in AXES[0]:
            for context in AXES[1]:
                model.observe([rows, context], 1.5 * line(rows, context))
    assert model.predict([16.0, 1024.0]).mean_s == pytest.approx(1.5 * line(16.0, 1024.0), rel=0.25)


@every_model
def test_useless_measurements_change_nothing(name: str) -> None:
    model = trained(name)
    before = model.predict([8.0, 1024.0])
    for seconds in (math.nan, math.inf, 0.0, -1.0):
        model.observe([8.0, 1024.0], seconds)
    assert model.predict([8.0, 1024.0]) == before


@every_model
def test_one_wild_step_does_little(name: str) -> None:
    model = trained(name)
    model.observe([8.0, 1024.0], 1.0)
    assert model.predict([24.0, 2000.0]).mean_s == pytest.approx(line(24.0, 2000.0), rel=0.15)


@every_model
def test_is_a_pure_function_of_its_history(name: str) -> None:
    assert trained(name).predict([3.0, 77.0]) == trained(name).predict([3.0, 77.0])


@every_model
def test_does_not_promise_too_little_beyond_what_it_saw(name: str) -> None:
    model = trained(name)
    assert model.predict([128.0, 8192.0]).mean_s >= 0.95 * line(128.0, 8192.0)

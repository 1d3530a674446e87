"""Predictions follow the machine, sizes are told apart, curves agree with single predictions, outliers do little."""

from __future__ import annotations

import math
import random

import pytest

from paceline.decision import Estimate, Linear
from paceline.llm.config import EngineConfig
from paceline.llm.load import StepLoad
from paceline.llm.model.config import ModelConfig
from paceline.llm.step_cost import StepCost, make_step_cost
from paceline.llm.step_model import StepModel
from tests.llm.test_step_model import full_profile, loads, step_s

PLAIN = StepLoad(4, 400, 4)


def taught(num: int = 1000, *, pace: float = 1.0) -> StepCost:
    cost = StepCost(StepModel(256, 100))
    cost.use(full_profile())
    for load in loads(random.Random(0), num):
        cost.observe(load, pace * step_s(load))
    return cost


def test_nothing_is_known_at_first() -> None:
    cost = StepCost(StepModel(64, 100))
    assert cost.predict_s(PLAIN) == 0.0
    assert list(cost.curve(PLAIN, 3)) == [0.0] * 4
    for useless in (0.0, math.nan):
        cost.observe(PLAIN, useless)
    assert (cost.predict_s(PLAIN), cost.error.count) == (0.0, 0)


def test_steady_noise_is_predicted_as_well_as_it_can_be() -> None:
    cost = taught(200)
    rng = random.Random(2)
    for load in loads(rng, 2000):
        cost.observe(load, step_s(load) * rng.uniform(0.95, 1.05))
    assert cost.error.mean < 0.05
    assert cost.median_error < 0.05


def test_a_machine_that_slows_down_is_followed_within_few_steps() -> None:
    cost = taught()
    for _ in range(8):
        cost.observe(PLAIN, 2.0 * step_s(PLAIN))
    other = StepLoad(16, 400, 4)
    assert cost.predict_s(PLAIN) == pytest.approx(2.0 * step_s(PLAIN), rel=0.1)
    assert cost.predict_s(other) == pytest.approx(2.0 * step_s(other), rel=0.15)  # every size is as much slower
    for _ in range(12):
        cost.observe(PLAIN, step_s(PLAIN))
    assert cost.predict_s(PLAIN) == pytest.approx(step_s(PLAIN), rel=0.1)


def test_two_surprises_alike_are_believed() -> None:
    cost = taught()
    for _ in range(5):
        cost.observe(PLAIN, 6.0 * step_s(PLAIN))
    assert cost.predict_s(PLAIN) == pytest.approx(6.0 * step_s(PLAIN), rel=0.25)


def test_prefill_has_a_pace_of_its_own() -> None:
    cost = taught()
    before = cost.predict_s(PLAIN)
    chunk = StepLoad(68, 400, 5, 63)
    for _ in range(5):
        cost.observe(chunk, 3.0 * step_s(chunk))
    assert cost.predict_s(PLAIN) == pytest.approx(before, rel=0.1)


def test_a_single_outlier_is_hardly_felt_and_soon_forgotten() -> None:
    cost = taught()
    before = cost.predict_s(PLAIN)
    cost.observe(PLAIN, 20.0 * step_s(PLAIN))
    assert cost.predict_s(PLAIN) < 1.2 * before
    for _ in range(6):
        cost.observe(PLAIN, step_s(PLAIN))
    assert cost.predict_s(PLAIN) == pytest.approx(before, rel=0.03)


def test_errors_count_outliers_and_the_median_does_not() -> None:
    cost = taught()
    for index in range(400):
        cost.observe(PLAIN, step_s(PLAIN) * (20.0 if index % 10 == 0 else 1.0))
    assert cost.error.mean > 0.08
    assert cost.median_error < 0.06


def test_a_step_of_the_staircase_that_nobody_profiled_is_learned() -> None:
    cost = taught()
    odd = StepLoad(9, 300, 1)
    even = StepLoad(8, 300, 1)
    for _ in range(300):
        cost.observe(odd, 1.5 * step_s(odd))
        cost.observe(even, step_s(even))
    ratio = cost.predict_s(odd) / cost.predict_s(even)
    assert ratio == pytest.approx(1.5 * step_s(odd) / step_s(even), rel=0.1)


def test_a_curve_agrees_with_single_predictions() -> None:
    cost = taught()
    load = StepLoad(8, 4096, 8, 0, 3)
    curve = cost.curve(load, 40)
    singles = [cost.predict_s(StepLoad(8 + extra, 4096, 8, 0, 3)) for extra in range(41)]
    assert list(curve[:41]) == pytest.approx(singles)
    assert cost.curve(load, 5) is curve  # longer ones serve as well
    assert len(cost.curve(load, 60)) == 61


def test_curves_at_hand_follow_the_pace() -> None:
    cost = taught()
    before = list(cost.curve(PLAIN, 4))
    for _ in range(8):
        cost.observe(PLAIN, 2.0 * step_s(PLAIN))
    after = cost.curve(PLAIN, 4)
    assert [new / old for new, old in zip(after, before, strict=True)] == pytest.approx([2.0] * 5, rel=0.15)


def test_not_too_many_curves_are_kept() -> None:
    cost = taught(100)
    for rows in range(1, 600):
        cost.curve(StepLoad(rows, 100, 1), 1)
    assert len(cost._curves) <= 256


def test_a_new_profile_starts_anew() -> None:
    cost = taught(pace=3.0)
    assert cost.predict_s(PLAIN) > 2.0 * step_s(PLAIN)
    cost.use(full_profile())
    assert cost.predict_s(PLAIN) == pytest.approx(step_s(PLAIN), rel=0.2)


class RowCost:
    """A millisecond a row, whatever happens."""

    def predict(self, features: tuple[float, ...]) -> Estimate:
        return Estimate(0.001 * features[0], 0.0, 1)

    def observe(self, features: tuple[float, ...], seconds: float) -> None:
        pass


def test_another_cost_model_is_taken_at_its_word() -> None:
    cost = StepCost(RowCost())
    for _ in range(10):
        cost.observe(PLAIN, 0.008)
    assert cost.predict_s(PLAIN) == 0.004
    assert cost.error.mean == pytest.approx(0.5)
    assert list(cost.curve(PLAIN, 2)) == pytest.approx([0.004, 0.005, 0.006])


def test_another_cost_model_learns() -> None:
    cost = StepCost(Linear([100.0, 1000.0, 10.0]))
    assert cost.predict_s(PLAIN) == 0.0
    for rows in (1, 64, 20, 100, 7, 40):
        cost.observe(StepLoad(rows, 0, 1), 0.005 + 0.0001 * rows)
    assert cost.predict_s(StepLoad(50, 0, 1)) == pytest.approx(0.01, rel=0.01)


def test_made_for_an_engine() -> None:
    model = ModelConfig(
        family="qwen3", vocab_size=100, hidden_size=8, num_layers=1, num_heads=1, num_kv_heads=1, head_dim=8,
        intermediate_size=8, norm_eps=1e-6, max_model_len=64, rope_theta=1e4,
    )  # fmt: skip
    cost = make_step_cost(EngineConfig(model="m", max_batched_tokens=128), model)
    cost.observe(StepLoad(500, 0, 1), 1.0)  # a queue may be asked for at once
    assert cost.predict_s(StepLoad(500, 0, 1)) == pytest.approx(1.0, rel=0.1)

"""The line over loads: what it learns from steps alone, what from a profile, and what it must not believe."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import pytest

from paceline.decision import Table
from paceline.llm.load import StepLoad
from paceline.llm.step_model import ByFeatures, ProfiledCell, StepModel

ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


def forward_s(load: StepLoad) -> float:
    """A kernel with a floor and a knee at 12 rows, a head, and attention."""
    rows = 0.020 + 0.0015 * max(0, load.num_rows - 12)
    head = 0.0001 * (load.num_rows - load.num_prefill)
    return rows + head + 2e-6 * load.num_context + 1e-7 * load.num_context * load.num_rows / load.num_seqs


def step_s(load: StepLoad) -> float:
    return forward_s(load) + 0.002 + 0.0005 * load.num_seqs + 0.001 * load.num_draws


def profile(cells: Iterable[ProfiledCell]) -> Table:
    cells = list(cells)
    table = Table([sorted({float(cell[axis]) for cell in cells}) for axis in range(4)])
    for cell in cells:
        table.profile(cell, [forward_s(cell.load)])
    return table


def full_profile() -> Table:
    return profile(
        [
            *(ProfiledCell(rows, 64, 1, rows - 1) for rows in ROWS),
            ProfiledCell(12, 64, 1, 11),
            ProfiledCell(8, 64, 1, 0),
            ProfiledCell(1, 1024, 1, 0),
            ProfiledCell(8, 1024, 1, 0),
            ProfiledCell(8, 512, 8, 0),
            ProfiledCell(32, 2048, 32, 0),
        ]
    )


def loads(rng: random.Random, num: int) -> Iterable[StepLoad]:
    """Decoding sequences with drafts, now and then a chunk of a prompt."""
    for _ in range(num):
        seqs = rng.randint(1, 16)
        rows = seqs * rng.choice((1, 1, 1, 2, 4))
        load = StepLoad(rows, seqs * rng.randint(50, 1000), seqs, 0, rng.randint(0, seqs))
        yield load + StepLoad(64, 0, 1, 63) if rng.random() < 0.1 else load


def relative_errors(model: StepModel, num: int = 200) -> list[float]:
    seen = list(loads(random.Random(1), num))
    return [abs(model.seconds(load) / step_s(load) - 1.0) for load in seen]


def test_nothing_is_known_at_first() -> None:
    model = StepModel(64, 100)
    assert model.seconds(StepLoad(1, 10, 1)) == 0.0
    assert model.curve(StepLoad(1, 10, 1), 2) == [0.0, 0.0, 0.0]
    for useless in (0.0, -1.0, math.nan, math.inf):
        model.observe(StepLoad(1, 10, 1), useless)
    assert model.seconds(StepLoad(1, 10, 1)) == 0.0


def test_the_first_step_tells_the_order_of_magnitude() -> None:
    model = StepModel(64, 100)
    model.observe(StepLoad(1, 10, 1), 0.025)
    assert model.seconds(StepLoad(1, 10, 1)) == pytest.approx(0.025, rel=0.1)
    assert 0.025 < model.seconds(StepLoad(8, 10, 1)) < 0.075


def test_learns_from_steps_alone() -> None:
    model = StepModel(256, 100)
    for load in loads(random.Random(0), 2000):
        model.observe(load, step_s(load))
    errors = relative_errors(model)
    assert sum(errors) / len(errors) < 0.1


def test_a_profile_knows_the_forward_pass_before_the_first_step() -> None:
    model = StepModel(256, 100)
    model.use(full_profile())
    for cell in (
        StepLoad(1, 64, 1),
        StepLoad(8, 64, 1),
        StepLoad(16, 64, 1),
        StepLoad(8, 512, 8),
        StepLoad(20, 700, 4),
    ):
        assert model.seconds(cell) == pytest.approx(forward_s(cell), rel=0.1)


def test_with_a_profile_the_knee_is_known_and_python_is_learned() -> None:
    model = StepModel(256, 100)
    model.use(full_profile())
    for load in loads(random.Random(0), 2000):
        model.observe(load, step_s(load))
    errors = relative_errors(model)
    assert sum(errors) / len(errors) < 0.02


def test_a_curve_is_what_single_predictions_say() -> None:
    model = StepModel(64, 100)
    model.use(full_profile())
    load = StepLoad(40, 900, 4, 3, 2)
    curve = model.curve(load, 40)  # beyond the 64 rows, too
    singles = [model.seconds(StepLoad(40 + extra, 900, 4, 3, 2)) for extra in range(41)]
    assert curve == pytest.approx(singles)
    assert model.curve(StepLoad(0, 0, 0), 1) == pytest.approx([model.seconds(StepLoad(n, 0, 0)) for n in (0, 1)])


def test_a_profile_of_hardly_anything_is_left_aside() -> None:
    model = StepModel(64, 100)
    model.use(profile([ProfiledCell(1, 64, 1, 0), ProfiledCell(8, 512, 8, 0)]))
    assert model.seconds(StepLoad(1, 64, 1)) == 0.0


def test_outliers_hardly_move_it() -> None:
    model = StepModel(256, 100)
    model.use(full_profile())
    rng = random.Random(0)
    for load in loads(rng, 2000):
        model.observe(load, step_s(load) * (10.0 if rng.random() < 0.03 else 1.0))
    errors = relative_errors(model)
    assert sum(errors) / len(errors) < 0.1


def test_other_models_are_asked_by_features() -> None:
    table = Table([[1, 2, 4], [10], [1]])
    model = ByFeatures(table)
    assert model.seconds(StepLoad(1, 10, 1)) == 0.0
    model.use(profile([ProfiledCell(1, 10, 1, 0), ProfiledCell(2, 10, 1, 0)]))
    model.observe(StepLoad(4, 10, 1), 0.5)
    assert model.curve(StepLoad(1, 10, 1), 3)[3] == 0.5
    assert model.seconds(StepLoad(2, 10, 1)) == pytest.approx(forward_s(StepLoad(2, 10, 1)))

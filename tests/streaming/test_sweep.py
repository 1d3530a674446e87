"""Configurations alone over logs, and what is written down of a policy that runs."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from paceline.errors import ConfigError, ModelError
from paceline.streaming.configuration import Configuration, grid
from paceline.streaming.forest import write_arrays
from paceline.streaming.frame import Floats, Log, Size
from paceline.streaming.parametric import LADDER, ParametricDetections
from paceline.streaming.pipeline import Pipeline
from paceline.streaming.policy import Fixed, Policy
from paceline.streaming.profile import Runtimes
from paceline.streaming.render import Drive
from paceline.streaming.score.clear import mota
from paceline.streaming.score.report import evaluate
from paceline.streaming.sweep import Found, Run, Sweep, joined, run, sweep, windows_of

CONFIGURATIONS = grid(("D4", "D7x"), (0.15,))


def make_pipeline(policy: Policy, size: Size) -> Pipeline:
    return Pipeline(
        CONFIGURATIONS, policy, Runtimes({name: [each.runtime_s] for name, each in LADDER.items()}), size=size
    )


def alone(configuration: Configuration, log: Log, found: Found) -> Run:
    return run(make_pipeline, Fixed(configuration.name), log, found)


@cache
def scene(seed: int, duration_s: float = 3.0) -> tuple[Log, ParametricDetections]:
    log = Drive(seed=seed, duration_s=duration_s, regimes=("downtown",)).log
    return log, ParametricDetections(log)


class Turns:
    """Another configuration in every window."""

    def __init__(self) -> None:
        self.told: list[Floats | None] = []

    def choose(self, features: Floats | None, current: str, now_us: int) -> str:
        self.told.append(features)
        return CONFIGURATIONS[len(self.told) % 2].name

    def observe(self, configuration: str, agreement: float, now_us: int) -> None:
        assert 0 <= agreement <= 1


def test_counts_are_those_of_the_evaluator() -> None:
    log, found = scene(1)
    done = alone(CONFIGURATIONS[0], log, found)
    score = evaluate(done.simulated.outputs, log, shown=done.simulated.shown)
    assert done.score == pytest.approx(mota(score.streaming.counts)) == pytest.approx(score.streaming.mota)
    assert (done.counts[:, 3] == score.streaming.counts.truths).all()


def test_offline_judges_only_frames_that_were_taken() -> None:
    log, found = scene(1)
    done = alone(CONFIGURATIONS[1], log, found)
    taken = {output.frame_index for output in done.simulated.outputs}
    judged = set(np.flatnonzero(done.offline[:, 3]).tolist())
    assert judged <= taken
    assert len(judged) < len(log.truths) / 2
    assert done.offline[:, :3].sum() / done.offline[:, 3].sum() < done.counts[:, :3].sum() / done.counts[:, 3].sum()


def test_what_a_policy_was_told_is_written_down() -> None:
    policy = Turns()
    done = run(make_pipeline, policy, *scene(2))
    assert done.choices == tuple(CONFIGURATIONS[place].name for place in (1, 0, 1))
    assert policy.told[0] is None
    assert (done.features[:2] == np.array(policy.told[1:])).all()
    assert np.isnan(done.features[2]).all()  # the log ended before anybody asked
    assert not np.isnan(done.agreement[:2]).any()


def test_logs_of_different_length_are_filled_up() -> None:
    found = sweep([scene(1), scene(2, 2.0)], CONFIGURATIONS, alone)
    assert found.counts.shape == (2, 2, 30, 4)
    assert found.windows[1].tolist() == [0] * 10 + [1] * 10 + [-1] * 10
    assert found.truths[1, 2] == found.errors[:, 1, 2].sum() == 0
    assert found.errors.sum() == found.counts[..., :3].sum()
    errors, truths = found.offline_windows
    assert errors.sum() == found.offline[..., :3].sum()
    assert truths.sum() == found.offline[..., 3].sum()


def test_windows_begin_with_the_log() -> None:
    late = replace(scene(1)[0], times_us=scene(1)[0].times_us + 5_700_000)
    assert windows_of(late).tolist() == windows_of(scene(1)[0]).tolist() == [0] * 10 + [1] * 10 + [2] * 10


def test_files_that_are_no_sweep_and_sweeps_that_do_not_fit(tmp_path: Path) -> None:
    found = sweep([scene(1)], CONFIGURATIONS, alone)
    path = tmp_path / "sweep.npz"
    write_arrays(path, {"counts": found.counts}, {})
    with pytest.raises(ModelError, match="not a sweep"):
        Sweep.load(path)
    with pytest.raises(ConfigError, match="joined"):
        joined([found, replace(found, configurations=("a", "b"))])
    with pytest.raises(ConfigError, match="no log"):
        sweep([], CONFIGURATIONS, alone)

"""The pipeline in virtual time, against known schedules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.streaming.configuration import Configuration
from paceline.streaming.frame import Detections, Frame, Log, Output, Truth
from paceline.streaming.pipeline import Pipeline, Start
from paceline.streaming.policy import Fixed
from paceline.streaming.profile import Runtimes
from paceline.streaming.score.associate import OCTOPUS
from paceline.streaming.sequence import RULES, processed
from paceline.streaming.simulate import Simulated, play, simulate

BOX = Detections(np.array([[10.0, 10, 50, 40]]), np.array([0.9]), np.array([0]))
GOLDEN = [  # milliseconds, rule, workers, captures used at 0, 100, … 1000 ms in hundreds (-1: none)
    (74, "eager", 1, [-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    (74, "tail-aware", 1, [-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    (254, "eager", "infinite", [-1, -1, -1, 0, 1, 2, 3, 4, 5, 6, 7]),
    (254, "eager", 1, [-1, -1, -1, 0, 0, 0, 2, 2, 5, 5, 5]),
    (254, "tail-aware", 1, [-1, -1, -1, 0, 0, 0, 3, 3, 3, 6, 6]),
    (254, "wait", 1, [-1, -1, -1, 0, 0, 0, 3, 3, 3, 6, 6]),
    (125, "eager", 1, [-1, -1, 0, 1, 2, 3, 3, 5, 6, 7, 8]),
    (125, "tail-aware", 1, [-1, -1, 0, 1, 2, 2, 4, 5, 6, 6, 8]),
    (160, "eager", 1, [-1, -1, 0, 0, 1, 3, 3, 4, 6, 6, 8]),
]


def log_of(times_us: np.ndarray) -> Log:
    return Log(name="made", size=(640, 360), times_us=times_us, truths=(Truth(),) * len(times_us))


def pipeline_of(milliseconds: float, rule: str = "tail-aware", **options: object) -> Pipeline:
    configuration = Configuration(name="d", detector="d", max_age_s=0.3)
    runtimes = Runtimes({"d": [milliseconds / 1000]})
    return Pipeline([configuration], Fixed("d"), runtimes, size=(640, 360), rule=RULES[rule], **options)  # type: ignore[arg-type]


def run(milliseconds: float, rule: str, workers: object, times_us: np.ndarray) -> Simulated:
    pipeline = pipeline_of(milliseconds, rule, num_workers=workers)
    return simulate(pipeline, log_of(times_us), lambda start: (milliseconds / 1000, BOX))


@pytest.mark.parametrize(("milliseconds", "rule", "workers", "used"), GOLDEN)
def test_the_schedules_that_are_known(milliseconds: float, rule: str, workers: object, used: list[int]) -> None:
    times_us = np.arange(11) * 100_000
    done = run(milliseconds, rule, workers, times_us)
    capture_us = np.array([output.capture_us for output in done.outputs])
    chosen = OCTOPUS.choose(capture_us, np.array([output.emit_us for output in done.outputs]), times_us)
    assert [capture_us[place] // 100_000 if place >= 0 else -1 for place in chosen] == used
    assert [tracks is None for tracks in done.shown] == [frame < 0 for frame in used]


@given(
    gap_us=st.sampled_from([100_000, 66_667, 33_333]),
    milliseconds=st.integers(5, 400),
    rule=st.sampled_from(["eager", "tail-aware", "wait"]),
)
@settings(max_examples=60, deadline=None)
def test_the_pipeline_takes_the_frames_that_the_rule_would(gap_us: int, milliseconds: int, rule: str) -> None:
    times_us = np.arange(40) * gap_us
    done = run(milliseconds, rule, 1, times_us)
    expected = processed(RULES[rule], times_us, np.full(40, milliseconds * 1000))
    last = len(expected) - 2  # at the end no frame comes that would be waited for
    assert [(each.frame_index, each.emit_us) for each in done.outputs[:last]] == [
        (each.index, each.emit_us) for each in expected[:last]
    ]


def test_every_frame_is_an_output_or_a_drop() -> None:
    done = run(254, "eager", 1, np.arange(50) * 100_000)
    assert len(done.outputs) + done.drops.total() == 50
    assert set(done.drops) == {"replaced"}


def test_several_workers_take_turns() -> None:
    done = run(254, "eager", 3, np.arange(50) * 100_000)
    assert len(done.outputs) == 50
    assert {output.emit_us - output.capture_us for output in done.outputs} == {254_000}


def test_a_result_that_was_overtaken_is_not_shown() -> None:
    pipeline = pipeline_of(100, "eager", num_workers=2)
    seconds = [0.25, 0.1, 0.1, 0.1]
    done = simulate(pipeline, log_of(np.arange(4) * 100_000), lambda start: (seconds[start.frame.index], BOX))
    assert [output.frame_index for output in done.outputs] == [1, 2, 3]
    assert done.drops == {"overtaken": 1}


def test_what_is_shown_at_a_moment_holds_what_ended_then() -> None:
    done = run(100, "eager", 1, np.arange(4) * 100_000)
    assert [tracks is None for tracks in done.shown] == [True, False, False, False]


def test_a_run_of_no_duration_is_shown_at_once() -> None:
    pipeline = pipeline_of(1, "eager")
    done = simulate(pipeline, log_of(np.arange(4) * 100_000), lambda start: (0.0, BOX))
    assert all(tracks is not None for tracks in done.shown)
    assert [output.emit_us for output in done.outputs] == [0, 100_000, 200_000, 300_000]


def test_a_log_without_frames() -> None:
    done = simulate(pipeline_of(10), log_of(np.zeros(0, np.int64)), lambda start: (0.01, BOX))
    assert (done.outputs, done.shown, done.drops) == ((), (), {})


def test_playing_frames_gives_what_simulating_their_log_gives() -> None:
    times_us = np.arange(20) * 100_000
    seen: list[Output] = []

    def detect(start: Start) -> tuple[float, Detections]:
        return 0.16, BOX

    play(pipeline_of(160), (Frame(i, at, (640, 360)) for i, at in enumerate(times_us.tolist())), detect, seen.append)
    assert [(each.frame_index, each.emit_us) for each in seen] == [
        (each.frame_index, each.emit_us) for each in run(160, "tail-aware", 1, times_us).outputs
    ]

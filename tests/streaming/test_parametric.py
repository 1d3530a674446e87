"""Detectors drawn from truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paceline.errors import ConfigError
from paceline.streaming.frame import Log, Truth
from paceline.streaming.parametric import LADDER, MIN_SCORE, ParametricDetections
from paceline.streaming.render import Drive

NUM_FRAMES = 60


def still(
    side: float, *, tags: tuple[str, ...] = (), visible: float = 1.0, count: int = 60, name: str = "still"
) -> Log:
    """Squares of one size, far apart, that stand still."""
    column, row = np.divmod(np.arange(count), 6)
    corner = np.stack((20 + 120.0 * column, 20 + 110.0 * row), 1)
    boxes = np.concatenate((corner, corner + side), 1)
    truth = Truth(boxes, np.arange(count), np.zeros(count, np.int64), np.full(count, visible), np.zeros(count, bool))
    return Log(
        name=name, size=(1280, 720), times_us=np.arange(NUM_FRAMES) * 100_000, truths=(truth,) * NUM_FRAMES, tags=tags
    )


def recall(log: Log, detector: str, *, seed: int = 0) -> float:
    """Share of objects with a confident box on them."""
    found, hits = ParametricDetections(log, seed=seed), 0
    centres = (log.truths[0].boxes[:, :2] + log.truths[0].boxes[:, 2:]) / 2
    side = log.truths[0].boxes[0, 2] - log.truths[0].boxes[0, 0]
    for frame in range(NUM_FRAMES):
        boxes = found(detector, frame)[1].above(MIN_SCORE).boxes
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        near = np.abs(middle[:, None] - centres[None]).max(-1) < 0.4 * side
        hits += int(near.any(0).sum())
    return hits / (NUM_FRAMES * len(centres))


@pytest.mark.parametrize("name", list(LADDER))
def test_one_in_two_is_found_at_the_area_that_says_so(name: str) -> None:
    side = LADDER[name].half_area ** 0.5
    found = np.mean([recall(still(side, name=f"log {seed}"), name, seed=seed) for seed in range(3)])
    assert abs(found - 0.5) < 0.08


def test_recall_rises_with_size_and_along_the_ladder() -> None:
    by_size = [recall(still(side), "D4") for side in (10, 20, 30, 60)]
    assert by_size == sorted(by_size)
    by_model = [recall(still(18), name) for name in LADDER]
    assert by_model == sorted(by_model)
    assert by_model[-1] - by_model[0] > 0.3


def test_what_is_dim_or_hidden_is_missed_more_often() -> None:
    clear = recall(still(30), "D4")
    assert recall(still(30, tags=("night",)), "D4") < clear
    assert recall(still(30, visible=0.3), "D4") < clear


def test_the_same_seed_finds_the_same() -> None:
    log = still(25)
    one, same, other = (ParametricDetections(log, seed=seed) for seed in (0, 0, 1))
    one("D7", 3)  # whoever was asked before does not matter
    for frame in (5, 2):
        seconds, found = one("D4", frame)
        again_s, again = same("D4", frame)
        assert seconds == again_s
        assert (found.boxes == again.boxes).all()
        assert (found.scores == again.scores).all()
    assert len(other("D4", 5)[1]) != len(one("D4", 5)[1]) or (other("D4", 5)[1].scores != one("D4", 5)[1].scores).any()


def test_two_detectors_miss_the_same_objects_more_often_than_by_chance() -> None:
    log = still(LADDER["D5"].half_area ** 0.5)
    found = ParametricDetections(log, seed=0)
    counts = np.array(
        [[len(found(name, frame)[1].above(MIN_SCORE)) for name in ("D5", "D6")] for frame in range(NUM_FRAMES)]
    )
    assert np.corrcoef(counts.T)[0, 1] > 0.3


def test_false_alarms_stay_for_some_frames_and_are_fewer_with_larger_models() -> None:
    log = replace(still(20, count=0), ego_speed=np.full(NUM_FRAMES, 8.0))
    found = {name: [] for name in ("D3", "D7x")}
    for seed in range(8):
        detections = ParametricDetections(log, seed=seed)
        for name, counts in found.items():
            counts.append([len(detections(name, frame)[1].above(MIN_SCORE)) for frame in range(NUM_FRAMES)])
    assert np.mean(found["D3"]) > 1.2 * np.mean(found["D7x"]) > 0
    alarms = np.array(found["D3"])
    assert np.corrcoef(alarms[:, 1:].ravel(), alarms[:, :-1].ravel())[0, 1] > 0.3


def test_runtimes_are_those_of_the_ladder() -> None:
    found = ParametricDetections(still(20), seed=0)
    for name, detector in LADDER.items():
        seconds = [found(name, frame)[0] for frame in range(NUM_FRAMES)]
        assert abs(np.median(seconds) / detector.runtime_s - 1) < 0.03
        assert len(set(seconds)) == NUM_FRAMES


def test_boxes_lie_in_the_picture_and_empty_logs_are_no_problem() -> None:
    log = Drive(seed=7, duration_s=2.0).log
    found = ParametricDetections(log, seed=0)
    for frame in range(len(log.truths)):
        boxes = found("D7x", frame)[1].boxes
        assert (boxes >= 0).all()
        assert (boxes <= [*log.size, *log.size]).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
    empty = Log(name="empty", size=(640, 360), times_us=np.zeros(1, np.int64), truths=(Truth(),))
    assert ParametricDetections(empty, seed=0)("D3", 0)[0] > 0


def test_an_unknown_detector_is_named() -> None:
    with pytest.raises(ConfigError, match="D9"):
        ParametricDetections(still(20), seed=0)("D9", 0)

"""Average precision by hand."""

from __future__ import annotations

import numpy as np
import pytest

from paceline.streaming.frame import Detections, Truth
from training.streaming.precision import average_precision, matches, recall_by_size

BOXES = np.array([[0, 0, 40, 40], [100, 100, 300, 300.0]])


def truth(ignored: tuple[bool, bool] = (False, False)) -> Truth:
    return Truth(BOXES, np.arange(2), np.zeros(2, np.int64), np.ones(2), np.array(ignored))


def found(boxes: np.ndarray, *scores: float) -> Detections:
    return Detections(np.asarray(boxes, float), np.array(scores), np.zeros(len(boxes), np.int64))


def test_perfect_is_one() -> None:
    scores = average_precision([found(BOXES, 0.9, 0.8)], [truth()])
    assert scores["ap"] == scores["ap50"] == scores["ap50_vehicle"] == 1.0
    assert np.isnan(scores["ap50_cyclist"])


def test_one_invented_before_the_second() -> None:
    boxes = np.concatenate([BOXES[:1], [[600, 600, 650, 650]], BOXES[1:]])
    scores = average_precision([found(boxes, 0.9, 0.8, 0.7)], [truth()])
    assert scores["ap50"] == pytest.approx((51 * 1.0 + 50 * 2 / 3) / 101)


def test_a_second_box_on_the_same_counts_against() -> None:
    assert matches(np.concatenate([BOXES[:1]] * 2), np.array([0.5, 0.9]), BOXES, np.zeros(2, bool), 0.5).tolist() == [
        -1,
        0,
    ]


def test_ignored_ones_count_neither_way() -> None:
    scores = average_precision([found(BOXES, 0.9, 0.8)], [truth((True, False))])
    assert scores["ap50"] == 1.0
    assert average_precision([found(BOXES[1:], 0.8)], [truth((True, False))])["ap50"] == 1.0


def test_recall_by_size() -> None:
    recalls = recall_by_size([found(BOXES[1:], 0.8)], [truth()], 1920)
    assert recalls["medium"] == 0.0
    assert recalls["large"] == 1.0

"""Average precision: equal to pycocotools, for all sizes and with ignored truth."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from typing import Any

import numpy as np
import pytest

from paceline.streaming.frame import CLASSES, Log
from paceline.streaming.score.average_precision import average_precision
from paceline.streaming.score.shown import Shown
from tests.streaming.score.made import log_of, scene, tracks, truth

BOX = [10.0, 10.0, 60.0, 60.0]


def peer(shown: Shown, log: Log) -> list[float]:
    """pycocotools' first six figures, nan where it says -1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    annotations: list[dict[str, Any]] = []
    for frame, each in enumerate(log.truths):
        for box, kind, ignored in zip(each.boxes, each.classes, each.ignored, strict=True):
            annotations.append(_annotation(frame, box, kind, id=len(annotations) + 1, iscrowd=int(ignored)))
    found = [
        _annotation(frame, box, kind, score=float(score))
        for frame, each in enumerate(shown)
        if each is not None
        for box, kind, score in zip(each.boxes, each.classes, each.scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        truth = coco.COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": frame} for frame in range(len(log.truths))],
            "categories": [{"id": kind, "name": name} for kind, name in enumerate(CLASSES)],
            "annotations": annotations,
        }
        truth.createIndex()
        evaluation = cocoeval.COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [math.nan if value == -1 else float(value) for value in evaluation.stats[:6]]


def _annotation(frame: int, box: np.ndarray, kind: int, **more: object) -> dict[str, Any]:
    width, height = box[2:] - box[:2]
    place = [float(box[0]), float(box[1]), float(width), float(height)]
    return {"image_id": frame, "category_id": int(kind), "bbox": place, "area": float(width * height), **more}


@pytest.mark.parametrize("seed", range(25))
def test_equals_pycocotools(seed: int) -> None:
    shown, log = scene(seed, ignored=0.3 if seed % 2 else 0.0)
    found = average_precision(shown, log)
    figures = [found.overall, found.at_50, found.at_75, found.small, found.medium, found.large]
    assert figures == pytest.approx(peer(shown, log), abs=1e-9, nan_ok=True)


def test_equals_pycocotools_where_a_frame_holds_more_boxes_than_count() -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 400, (150, 2))
    boxes = np.hstack((corner, corner + 40))
    log = log_of(truth(boxes, np.arange(150)))
    shown = (tracks(boxes + rng.normal(0, 3, boxes.shape), np.arange(150), rng.random(150)),)
    assert average_precision(shown, log).overall == pytest.approx(peer(shown, log)[0], abs=1e-9)


def test_nothing_to_judge() -> None:
    assert math.isnan(average_precision((), log_of()).overall)
    assert math.isnan(average_precision((tracks([BOX], [1]),), log_of(truth([], []))).overall)
    assert math.isnan(average_precision((None,), log_of(truth([BOX], [1], ignored=[True]))).overall)
    assert average_precision((None,), log_of(truth([BOX], [1]))).overall == 0.0


def test_truth_shown_is_perfect_and_a_wrong_class_is_wrong() -> None:
    log = log_of(truth([BOX], [1], classes=[1]))
    found = average_precision((tracks([BOX], [1], classes=[1]),), log)
    assert found.overall == pytest.approx(1.0)
    assert found.medium == pytest.approx(1.0)
    assert math.isnan(found.small)
    assert average_precision((tracks([BOX], [1], classes=[0]),), log).overall == 0.0


def test_boxes_and_scores_that_are_none_come_last() -> None:
    log = log_of(truth([BOX], [1]))
    bad = [[math.nan] * 4, [-math.inf, -math.inf, math.inf, math.inf], [1e308, 1e308, -1e308, -1e308]]
    shown = (tracks([*bad, BOX], range(4), [math.nan, 0.1, 0.2, 0.9]),)
    assert average_precision(shown, log).overall == pytest.approx(1.0)

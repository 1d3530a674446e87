"""The field's own tools, fed with the same overlaps."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from paceline.streaming.boxes import EPSILON, intersection_over_union
from paceline.streaming.frame import Log
from paceline.streaming.score.shown import Shown

IOU = 0.5


def without_ignored(shown: Shown, log: Log, *, by_class: bool = False) -> list[tuple[Any, Any, Any]]:
    """Truth ids, track ids, similarity of each frame, as TrackEval's MOT challenge data set prepares them, written out slowly."""
    from scipy.optimize import linear_sum_assignment

    frames = []
    for each, truth in zip(shown, log.truths, strict=True):
        boxes = np.zeros((0, 4)) if each is None else each.boxes
        ids = np.zeros(0, np.int64) if each is None else each.ids
        similarity = np.array([[_one(a, b) for b in boxes] for a in truth.boxes]).reshape(len(truth), len(boxes))
        near = np.where(similarity < IOU - EPSILON, 0, similarity)
        rows, columns = linear_sum_assignment(-near)
        good = near[rows, columns] > EPSILON
        gone = columns[good][truth.ignored[rows[good]]]
        if by_class and each is not None:
            similarity = similarity * (truth.classes[:, None] == each.classes[None])
        similarity = np.delete(similarity, gone, axis=1)[~truth.ignored]
        frames.append((truth.ids[~truth.ignored], np.delete(ids, gone), similarity))
    return frames


def _one(box: np.ndarray, other: np.ndarray) -> float:
    return float(intersection_over_union(box[None], other[None])[0])


def trackeval(metric: str, frames: list[tuple[Any, Any, Any]]) -> dict[str, Any]:
    """What TrackEval's metric class says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("trackeval.metrics")
    truth_ids, truths = _relabelled([frame[0] for frame in frames])
    track_ids, tracks = _relabelled([frame[1] for frame in frames])
    data = {
        "num_timesteps": len(frames),
        "num_gt_ids": truth_ids,
        "num_tracker_ids": track_ids,
        "num_gt_dets": sum(map(len, truths)),
        "num_tracker_dets": sum(map(len, tracks)),
        "gt_ids": truths,
        "tracker_ids": tracks,
        "similarity_scores": [frame[2] for frame in frames],
    }
    config = () if metric == "HOTA" else ({"THRESHOLD": IOU, "PRINT_CONFIG": False},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(getattr(module, metric)(*config).eval_sequence(data))


def _relabelled(ids: list[Any]) -> tuple[int, list[Any]]:
    known, labels = np.unique(np.concatenate(ids), return_inverse=True)
    return len(known), np.split(labels, np.cumsum([len(each) for each in ids])[:-1])


def motmetrics(frames: list[tuple[Any, Any, Any]]) -> list[tuple[int, int, int, int]]:
    """Misses, false positives, switches, objects of each frame, counted from py-motmetrics' events."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = pytest.importorskip("motmetrics")
        accumulator = peer.MOTAccumulator()
        for place, (truth_ids, track_ids, similarity) in enumerate(frames):
            distance = np.where(similarity >= IOU - EPSILON, 1 - similarity, np.nan)
            accumulator.update(truth_ids, track_ids, distance, frameid=place)
        events = accumulator.mot_events.reset_index()
    found = []
    for place, frame in enumerate(frames):
        types = list(events.Type[events.FrameId == place])
        found.append((types.count("MISS"), types.count("FP"), types.count("SWITCH"), len(frame[0])))
    return found

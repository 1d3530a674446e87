"""Average precision of detections against the truth of rendered frames: greedy matching by score, 101 points of recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from paceline.streaming.frame import CLASSES, Detections, Floats, Truth

LEVELS: Final = tuple(float(level) for level in np.arange(0.5, 0.96, 0.05).round(2))
RECALLS: Final = np.linspace(0, 1, 101)
SIZES: Final = {"small": (0.0, 32.0), "medium": (32.0, 96.0), "large": (96.0, 1e9)}  # edges in pixels of 1920 across


def average_precision(found: Sequence[Detections], truths: Sequence[Truth]) -> dict[str, float]:
    """``ap`` over the levels .50 to .95 and ``ap50``, each the mean over classes; and each class's ``ap50``."""
    table = np.array([[_of_class(found, truths, label, level) for level in LEVELS] for label in range(len(CLASSES))])
    asked = ~np.isnan(table[:, 0])
    result = {"ap": float(table[asked].mean()), "ap50": float(table[asked, 0].mean())}
    return result | {f"ap50_{name}": float(row[0]) for name, row in zip(CLASSES, table, strict=True)}


def _of_class(found: Sequence[Detections], truths: Sequence[Truth], label: int, level: float) -> float:
    scores, hits, wanted = [], [], 0
    for detections, truth in zip(found, truths, strict=True):
        mine, theirs = detections.classes == label, truth.classes == label
        ignored = truth.ignored[theirs]
        wanted += int((~ignored).sum())
        hit = matches(detections.boxes[mine], detections.scores[mine], truth.boxes[theirs], ignored, level)
        counted = hit >= -1
        scores.append(detections.scores[mine][counted])
        hits.append(hit[counted] >= 0)
    if not wanted:
        return float("nan")
    order = np.argsort(-np.concatenate(scores), kind="stable")
    right = np.cumsum(np.concatenate(hits)[order])
    precision = right / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(right / wanted, RECALLS, side="left")
    return float(np.append(envelope, 0.0)[np.minimum(place, len(envelope))].mean())


def matches(boxes: Floats, scores: Floats, truth: Floats, ignored: np.ndarray, level: float) -> np.ndarray:
    """For each box the truth it takes, best scores first; -1 where it takes none, -2 where it only lies on an ignored one."""
    result = np.full(len(boxes), -1)
    if not len(truth):
        return result
    ious = iou_table(boxes, truth)
    free = ~ignored
    for row in np.argsort(-scores, kind="stable"):
        open_ = np.where(free, ious[row], 0.0)
        best = int(open_.argmax())
        if open_[best] >= level:
            result[row], free[best] = best, False
        elif (ious[row][ignored] >= level).any():
            result[row] = -2
    return result


def iou_table(first: Floats, second: Floats) -> Floats:
    """[N, 4], [M, 4] -> [N, M]"""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (first, second)]
    return np.asarray(shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9))


def recall_by_size(
    found: Sequence[Detections], truths: Sequence[Truth], width: int, score: float = 0.3, level: float = 0.5
) -> dict[str, float]:
    """Share of the truth's boxes that are found with at least this score, whatever the class."""
    edges, hits = [], []
    for detections, truth in zip(found, truths, strict=True):
        kept = detections.above(score)
        taken = matches(kept.boxes, kept.scores, truth.boxes, truth.ignored, level)
        hit = np.zeros(len(truth), bool)
        hit[taken[taken >= 0]] = True
        clear = ~truth.ignored
        sides = truth.boxes[clear, 2:] - truth.boxes[clear, :2]
        edges.append(np.sqrt(np.prod(sides, axis=1)) * 1920 / width)
        hits.append(hit[clear])
    edge, was_hit = np.concatenate(edges), np.concatenate(hits)
    rows = {name: (edge >= low) & (edge < high) for name, (low, high) in SIZES.items()}
    return {name: float(was_hit[inside].mean()) for name, inside in rows.items() if inside.any()}

"""What the driving of logs looks like in numbers: features of one-second windows, and how fast boxes leave themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from paceline.streaming.frame import Floats, Log, Truth

PERCENTILES: Final = (5, 25, 50, 75, 95)
FEATURES: Final = ("boxes", "area", "displacement", "ego_speed", "longevity")
SMALL, MEDIUM = 32.0, 96.0  # COCO's edges, in pixels of a picture 1920 wide


def windows(log: Log, rate_hz: int = 10) -> Floats:
    """[W, 5]: `FEATURES` of each second; NaN where there is nothing to measure. Areas and ways in pixels of the log."""
    rows = []
    for start in range(0, len(log.truths) - rate_hz + 1, rate_hz):
        frames = [_clear(truth) for truth in log.truths[start : start + rate_hz]]
        ids = np.concatenate([truth.ids for truth in frames])
        areas = np.concatenate([_areas(truth.boxes) for truth in frames])
        speed = np.nan if log.ego_speed is None else float(log.ego_speed[start : start + rate_hz].mean())
        rows.append(
            (
                len(ids) / rate_hz,
                areas.mean() if len(areas) else np.nan,
                _displacement(frames, rate_hz // 2),
                speed,
                len(ids) / len(np.unique(ids)) if len(ids) else np.nan,
            )
        )
    return np.array(rows)


def _clear(truth: Truth) -> Truth:
    kept = ~truth.ignored
    return Truth(truth.boxes[kept], truth.ids[kept], truth.classes[kept], truth.visible[kept], truth.ignored[kept])


def _areas(boxes: Floats) -> Floats:
    return np.asarray(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))


def _pairs(first: Truth, second: Truth) -> tuple[Floats, Floats]:
    """Boxes of those in both."""
    _, here, there = np.intersect1d(first.ids, second.ids, assume_unique=True, return_indices=True)
    return first.boxes[here], second.boxes[there]


def _displacement(frames: list[Truth], num_frames: int) -> float:
    """Mean way of the boxes' middles over this many frames."""
    ways = [
        np.linalg.norm((after[:, :2] + after[:, 2:] - before[:, :2] - before[:, 2:]) / 2, axis=1)
        for first, second in zip(frames, frames[num_frames:], strict=False)
        for before, after in [_pairs(first, second)]
    ]
    every = np.concatenate(ways)
    return float(every.mean()) if len(every) else np.nan


def lag_correlation(per_log: Iterable[Floats], lag: int) -> float:
    """Of one feature with itself ``lag`` windows on, over all logs together."""
    pairs = [(values[:-lag], values[lag:]) for values in per_log if len(values) > lag]
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    known = ~np.isnan(first) & ~np.isnan(second)
    return float(np.corrcoef(first[known], second[known])[0, 1])


def self_iou(logs: Iterable[Log], lag: int) -> dict[str, tuple[float, float]]:
    """Mean IoU of boxes with where they are ``lag`` frames on, and the share under one half; by size."""
    ious: list[Floats] = []
    edges: list[Floats] = []
    for log in logs:
        frames = [_clear(truth) for truth in log.truths]
        for first, second in zip(frames[::3], frames[lag::3], strict=False):
            before, after = _pairs(first, second)
            ious.append(_ious(before, after))
            edges.append(np.sqrt(_areas(before)) * 1920 / log.size[0])
    iou, edge = np.concatenate(ious), np.concatenate(edges)
    sizes = {"small": edge < SMALL, "medium": (edge >= SMALL) & (edge < MEDIUM), "large": edge >= MEDIUM}
    return {
        name: (float(iou[rows].mean()), float((iou[rows] < 0.5).mean())) for name, rows in sizes.items() if rows.any()
    }


def _ious(first: Floats, second: Floats) -> Floats:
    low = np.maximum(first[:, :2], second[:, :2])
    high = np.minimum(first[:, 2:], second[:, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=1)
    return np.asarray(shared / (_areas(first) + _areas(second) - shared))

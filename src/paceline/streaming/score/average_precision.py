"""Average precision as COCO defines it: over ten demands on overlap, class by class, and by size of the object."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from paceline.streaming.boxes import area, covered, intersection_over_union
from paceline.streaming.frame import Floats, Log, Tracks, Truth
from paceline.streaming.score.shown import Shown, require_fit

DEMANDS: Final[Floats] = np.linspace(0.5, 0.95, 10)  # [A]
MAX_BOXES: Final = 100  # of one class in one frame
SIZES: Final[Floats] = np.array([[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]])  # [S, 2], square pixels
_RECALLS: Final[Floats] = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """In 0..1; nan where there is no object of that size. ``at_50`` demands an overlap of one half only."""

    overall: float
    at_50: float
    at_75: float
    small: float
    medium: float
    large: float


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """D boxes of one class, best first in each frame; D of ``right`` and ``excused`` for S sizes and A demands."""

    scores: Floats  # [D]
    right: NDArray[np.bool_]  # [S, A, D]
    excused: NDArray[np.bool_]  # [S, A, D]
    num_truths: NDArray[np.int64]  # [S]


def average_precision(shown: Shown, log: Log) -> AveragePrecision:
    """Ignored truth excuses any number of boxes that lie on it."""
    require_fit(shown, log)
    classes = np.unique(np.concatenate([np.zeros(0, np.int64), *[truth.classes for truth in log.truths]]))
    found = [_precision(list(_judged(shown, log, int(kind)))) for kind in classes]
    tables = np.array(found) if found else np.full((1, len(SIZES), len(DEMANDS)), math.nan)  # [C, S, A]
    return AveragePrecision(
        overall=_mean(tables[:, 0]),
        at_50=_mean(tables[:, 0, 0]),
        at_75=_mean(tables[:, 0, 5]),
        small=_mean(tables[:, 1]),
        medium=_mean(tables[:, 2]),
        large=_mean(tables[:, 3]),
    )


def _mean(table: Floats) -> float:
    there = table[~np.isnan(table)]
    return float(there.mean()) if there.size else math.nan


def _judged(shown: Shown, log: Log, kind: int) -> Iterator[_Judged]:
    for tracks, truth in zip(shown, log.truths, strict=True):
        mine = truth.classes == kind
        boxes, scores = _best(tracks, kind)
        if len(boxes) or mine.any():
            yield _judge(boxes, scores, truth, mine)


def _best(tracks: Tracks | None, kind: int) -> tuple[Floats, Floats]:
    """Boxes and scores of one class.  # [D, 4], [D]"""
    if tracks is None:
        return np.zeros((0, 4)), np.zeros(0)
    mine = np.flatnonzero(tracks.classes == kind)
    mine = mine[np.argsort(-tracks.scores[mine], kind="stable")][:MAX_BOXES]
    return tracks.boxes[mine], tracks.scores[mine]


def _judge(boxes: Floats, scores: Floats, truth: Truth, mine: NDArray[np.bool_]) -> _Judged:
    """Best first, each box takes the object of largest overlap that is free; only if there is none, one that does not count."""
    objects, ignored = truth.boxes[mine], truth.ignored[mine]
    overlap = intersection_over_union(boxes[:, None], objects)
    overlap[:, ignored] = covered(boxes[:, None], objects[ignored])  # [D, G]
    aside = (ignored | _outside(objects))[:, None]  # [S, 1, G]
    free = np.ones((len(SIZES), len(DEMANDS), len(objects)), bool)
    right = np.zeros((len(boxes), len(SIZES), len(DEMANDS)), bool)
    excused = np.broadcast_to(_outside(boxes).T[:, :, None], right.shape).copy()
    for place in np.flatnonzero((overlap >= DEMANDS[0]).any(1)):
        near = free & (overlap[place] >= DEMANDS[:, None])
        counts = (near & ~aside).any(-1)
        candidates = near & (aside ^ counts[..., None])
        best = _last_largest(np.where(candidates, overlap[place], -1.0))  # [S, A]
        matched = candidates.any(-1)
        right[place] = matched & counts
        excused[place] = np.where(matched, ~counts, excused[place])
        size, demand = matched.nonzero()
        taken = best[size, demand]
        free[size, demand, taken] = ignored[taken]  # what is ignored excuses more than one
    return _Judged(scores, right.transpose(1, 2, 0), excused.transpose(1, 2, 0), (~aside[:, 0]).sum(-1))


def _outside(boxes: Floats) -> NDArray[np.bool_]:
    """Which are not of each size.  # [N, 4] -> [S, N]"""
    with np.errstate(invalid="ignore", over="ignore"):
        areas = area(boxes)
    return (areas < SIZES[:, :1]) | (areas > SIZES[:, 1:])


def _last_largest(values: Floats) -> NDArray[np.int64]:
    """# [..., G] -> [...]"""
    last: NDArray[np.int64] = values.shape[-1] - 1 - values[..., ::-1].argmax(-1)
    return last


def _precision(frames: list[_Judged]) -> Floats:
    """Mean precision over 101 levels of recall; nan where there are no objects.  # [S, A]"""
    order = np.argsort(-np.concatenate([frame.scores for frame in frames]), kind="stable")
    right = np.concatenate([frame.right for frame in frames], axis=-1)[..., order]
    excused = np.concatenate([frame.excused for frame in frames], axis=-1)[..., order]
    num_truths = np.sum([frame.num_truths for frame in frames], axis=0)
    true, false = np.cumsum(right, axis=-1), np.cumsum(~right & ~excused, axis=-1)
    precision = true / (true + false + np.spacing(1))
    precision = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
    result = np.full(precision.shape[:2], math.nan)
    for size, demand in np.ndindex(result.shape):
        if num_truths[size]:
            reached = np.searchsorted(true[size, demand] / num_truths[size], _RECALLS)
            result[size, demand] = np.append(precision[size, demand], 0.0)[reached].mean()
    return result

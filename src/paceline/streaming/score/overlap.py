"""How much what is shown overlaps with what is there, frame by frame; ignored truth is taken out here, once for all metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from paceline.errors import ConfigError, InvalidRequest
from paceline.streaming.boxes import EPSILON, intersection_over_union
from paceline.streaming.frame import Floats, Ints, Log, Tracks
from paceline.streaming.score.shown import Shown, require_fit

_BLOCK: Final = 64  # frames whose pairs are computed at once: few calls, and they stay in the cache
_NOTHING: Final = Tracks()


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """One frame: G objects that count, T boxes that are judged, and their intersection over union."""

    truth_ids: Ints  # [G]
    track_ids: Ints  # [T]
    similarity: Floats  # [G, T]


def overlaps(shown: Shown, log: Log, *, iou: float = 0.5, by_class: bool = False) -> Iterator[Overlap]:
    """One per frame. Boxes that match ignored truth are not judged. ``by_class``: boxes of another class do not overlap."""
    require_fit(shown, log)
    if not 0 < iou <= 1:
        raise ConfigError(f"iou must be in (0, 1], got {iou}")
    for start in range(0, len(shown), _BLOCK):
        tracks = [each or _NOTHING for each in shown[start : start + _BLOCK]]
        truths = log.truths[start : start + _BLOCK]
        similarities = _similarities([truth.boxes for truth in truths], [each.boxes for each in tracks])
        for truth, each, similarity in zip(truths, tracks, similarities, strict=True):
            kept: NDArray[np.bool_] = np.ones(len(each), bool)
            judged = similarity
            if by_class and similarity.size:
                judged = np.where(truth.classes[:, None] == each.classes, similarity, 0.0)
            if not truth.ignored.any():
                yield Overlap(truth.ids, each.ids, judged)
                continue
            kept[_matching(similarity, truth.ignored, iou - EPSILON)] = False
            yield Overlap(truth.ids[~truth.ignored], each.ids[kept], judged[~truth.ignored][:, kept])


def numbered(ids: Sequence[Ints]) -> tuple[list[Ints], Ints]:
    """Ids of each frame as 0, 1, ..., and in how many frames each of the N is.  # F x [M] -> F x [M], [N]"""
    for frame, each in enumerate(ids):
        if len(np.unique(each)) < len(each):
            raise InvalidRequest(f"frame {frame} holds an id twice among {sorted(each.tolist())}", param="id")
    _, numbers, counts = np.unique(np.concatenate([_NOTHING.ids, *ids]), return_inverse=True, return_counts=True)
    ends = np.cumsum([len(each) for each in ids], dtype=np.int64)
    return np.split(numbers, ends)[: len(ids)], counts


def _similarities(boxes: Sequence[Floats], others: Sequence[Floats]) -> Iterator[Floats]:
    """Of each frame the matrix between its two sets of boxes.  # F x [G, 4], F x [T, 4] -> F x [G, T]"""
    rows, columns = np.array([len(each) for each in boxes]), np.array([len(each) for each in others])
    sizes = rows * columns
    ends = np.cumsum(sizes)
    frame = np.repeat(np.arange(len(sizes)), sizes)
    within = np.arange(len(frame)) - (ends - sizes)[frame]
    row = (np.cumsum(rows) - rows)[frame] + within // columns[frame]
    column = (np.cumsum(columns) - columns)[frame] + within % columns[frame]
    flat = intersection_over_union(np.concatenate(boxes)[row], np.concatenate(others)[column])
    for end, size, shape in zip(ends.tolist(), sizes.tolist(), zip(rows, columns, strict=True), strict=True):
        yield flat[end - size : end].reshape(shape)


def _matching(similarity: Floats, ignored: NDArray[np.bool_], threshold: float) -> Ints:
    """Boxes that belong to ignored truth, when all truth is matched at once as in the MOT challenge.  # [G, T] -> [M]"""
    near = similarity >= threshold
    columns: Ints = np.flatnonzero(near[ignored].any(0))
    if (near.sum(0)[columns] == 1).all() and (near[ignored].sum(1) <= 1).all():
        return columns
    rows, columns = linear_sum_assignment(np.where(near, -similarity, 0.0))
    matched: Ints = columns[near[rows, columns] & ignored[rows]]
    return matched

"""CLEAR MOT: misses, false alarms and switches of identity in integers per frame, so that any stretch is a ratio of sums.

The two tools of the field disagree in rare frames; both conventions are kept to the integer. *motmetrics* (which the Octopus paper
used): an object keeps its last track however long ago it was matched, then as many pairs as possible are matched, at the
largest overlap. *trackeval*: it keeps its track only from the frame before, and the sum of overlaps decides alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from paceline.errors import ConfigError
from paceline.streaming.boxes import EPSILON
from paceline.streaming.frame import Floats, Ints, Log
from paceline.streaming.score.overlap import Overlap, overlaps
from paceline.streaming.score.shown import Shown

Convention: TypeAlias = Literal["motmetrics", "trackeval"]
Pairs: TypeAlias = list[tuple[int, int]]  # row (object), column (box)
Before: TypeAlias = dict[int, int]  # object -> the track it was matched to

_KEPT: Final = 1000.0  # worth of keeping a track: more than any sum of overlaps


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """What CLEAR counts in each of F frames. ``overlap`` is the sum of intersection over union of matched boxes."""

    false_negatives: Ints  # [F]
    false_positives: Ints  # [F]
    switches: Ints  # [F]
    truths: Ints  # [F]
    overlap: Floats  # [F]

    @property
    def errors(self) -> Ints:
        """The numerator of MOTA.  # [F]"""
        return self.false_negatives + self.false_positives + self.switches

    def only(self, kept: NDArray[np.bool_] | slice) -> Counts:
        """The same with the other frames zeroed."""
        mask = np.zeros(len(self.truths), np.int64)
        mask[kept] = 1
        return Counts(
            self.false_negatives * mask,
            self.false_positives * mask,
            self.switches * mask,
            self.truths * mask,
            self.overlap * mask,
        )


def mota(counts: Counts) -> float:
    """1 - (misses + false alarms + switches) / objects; nan where there are no objects.

    >>> one, two = np.array([1]), np.array([2])
    >>> mota(Counts(one, 0 * one, 0 * one, two, 0.8 * one))
    0.5
    """
    num_truths = int(counts.truths.sum())
    return 1 - int(counts.errors.sum()) / num_truths if num_truths else math.nan


def motp(counts: Counts) -> float:
    """Mean intersection over union of matched boxes; nan where there are none."""
    num_matched = int((counts.truths - counts.false_negatives).sum())
    return float(counts.overlap.sum()) / num_matched if num_matched else math.nan


def clear(
    shown: Shown, log: Log, *, iou: float = 0.5, by_class: bool = False, convention: Convention = "motmetrics"
) -> Counts:
    """Counts of each frame. A frame without output misses everything."""
    if convention not in _CONVENTIONS:
        raise ConfigError(f"unknown convention {convention!r}; known: {', '.join(_CONVENTIONS)}")
    matching, from_last_frame = _CONVENTIONS[convention]
    counts = np.zeros((4, len(shown)), np.int64)
    overlap = np.zeros(len(shown))
    ever: Before = {}
    kept = ever  # what an object may keep: its track ever, or that of the last frame
    for place, frame in enumerate(overlaps(shown, log, iou=iou, by_class=by_class)):
        num_truths, num_tracks = frame.similarity.shape
        if not frame.similarity.size:
            counts[:, place] = num_truths, num_tracks, 0, num_truths
            continue
        pairs = _match(frame, iou - EPSILON, kept, matching)
        truth_ids, track_ids = frame.truth_ids.tolist(), frame.track_ids.tolist()
        matched = [(truth_ids[row], track_ids[column]) for row, column in pairs]
        switches = sum([ever.get(truth, track) != track for truth, track in matched])
        ever.update(matched)
        kept = dict(matched) if from_last_frame else ever
        counts[:, place] = num_truths - len(pairs), num_tracks - len(pairs), switches, num_truths
        overlap[place] = sum([frame.similarity[pair] for pair in pairs])
    return Counts(counts[0], counts[1], counts[2], counts[3], overlap)


_Matching: TypeAlias = Callable[[Overlap, NDArray[np.bool_], Pairs, Before], Pairs]


def _match(frame: Overlap, threshold: float, kept: Before, matching: _Matching) -> Pairs:
    near = frame.similarity >= threshold
    pairs = list(zip(*[axis.tolist() for axis in near.nonzero()], strict=True))
    return pairs if _is_unique(pairs) else matching(frame, near, pairs, kept)


def _is_unique(pairs: Pairs) -> bool:
    """Whether no row and no column is in two pairs: then there is nothing to choose."""
    return len({row for row, _ in pairs}) == len(pairs) == len({column for _, column in pairs})


def _keep_then_most(frame: Overlap, near: NDArray[np.bool_], pairs: Pairs, kept: Before) -> Pairs:
    """First every object keeps its track, then as many of the others are matched as possible, at the largest overlap."""
    carried = _carried(frame, near, kept)
    rows, columns = {row for row, _ in carried}, {column for _, column in carried}
    rest = [(row, column) for row, column in pairs if row not in rows and column not in columns]
    if _is_unique(rest):
        return carried + rest
    free = near.copy()
    free[list(rows)] = False
    free[:, list(columns)] = False
    never = 4.0 * min(near.shape) + 1  # dearer than all other pairs together
    return carried + _cheapest(np.where(free, 1 - frame.similarity, never), free)


def _carried(frame: Overlap, near: NDArray[np.bool_], kept: Before) -> Pairs:
    track_ids, used, result = frame.track_ids.tolist(), set[int](), []
    for row, truth in enumerate(frame.truth_ids.tolist()):
        track = kept.get(truth)
        column = next((c for c, other in enumerate(track_ids) if other == track and c not in used), None)
        if column is not None and near[row, column]:
            used.add(column)
            result.append((row, column))
    return result


def _largest_sum(frame: Overlap, near: NDArray[np.bool_], pairs: Pairs, kept: Before) -> Pairs:
    """The matching of largest overlap, in which keeping a track outweighs everything."""
    wanted = np.array([kept.get(truth) for truth in frame.truth_ids.tolist()], dtype=float)  # nan: none
    worth = _KEPT * (frame.track_ids == wanted[:, None]) + frame.similarity
    return _cheapest(np.where(near, -worth, 0.0), near)


def _cheapest(cost: Floats, allowed: NDArray[np.bool_]) -> Pairs:
    rows, columns = linear_sum_assignment(cost)
    good = allowed[rows, columns]
    return list(zip(rows[good].tolist(), columns[good].tolist(), strict=True))


_CONVENTIONS: Final[dict[str, tuple[_Matching, bool]]] = {
    "motmetrics": (_keep_then_most, False),
    "trackeval": (_largest_sum, True),
}

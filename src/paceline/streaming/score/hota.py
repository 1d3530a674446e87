"""HOTA (Luiten et al., IJCV 2021): detection and association weigh the same, over 19 demands on overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from paceline.streaming.boxes import EPSILON
from paceline.streaming.frame import Floats, Ints, Log
from paceline.streaming.score.overlap import Overlap, numbered, overlaps
from paceline.streaming.score.shown import Shown

DEMANDS: Final[Floats] = np.arange(0.05, 0.99, 0.05)  # [A]


@dataclass(frozen=True, slots=True, eq=False)
class Hota:
    """One figure for each demand; the usual one is their mean. nan where there is neither object nor box."""

    hota: Floats  # [A]
    detection: Floats  # [A]
    association: Floats  # [A]


@dataclass(frozen=True, slots=True, eq=False)
class _Matched:
    """All pairs of a log, whatever their overlap."""

    truths: Ints  # [M]
    tracks: Ints  # [M]
    similarity: Floats  # [M]


def hota(shown: Shown, log: Log, *, iou: float = 0.5, by_class: bool = False) -> Hota:
    """``iou`` decides only what belongs to ignored truth."""
    frames = list(overlaps(shown, log, iou=iou, by_class=by_class))
    truths, truth_counts = numbered([frame.truth_ids for frame in frames])
    tracks, track_counts = numbered([frame.track_ids for frame in frames])
    alignment = _alignment(frames, truths, tracks, truth_counts[:, None] + track_counts)
    matched = _matched(frames, truths, tracks, alignment)
    right = [matched.similarity >= demand - EPSILON for demand in DEMANDS]
    num_right = np.array([each.sum() for each in right])
    total = truth_counts.sum() + track_counts.sum() - num_right
    with np.errstate(invalid="ignore"):  # 0 / 0 where there is nothing at all
        detection = num_right / total
    association = np.array([_association(matched, each, truth_counts, track_counts) for each in right])
    return Hota(np.sqrt(detection * association), detection, association)


def _alignment(frames: list[Overlap], truths: list[Ints], tracks: list[Ints], present: Ints) -> Floats:
    """How well each object and each track fit together over the whole log.  # [G, T] -> [G, T]"""
    together = np.zeros(present.shape)
    for frame, truth, track in zip(frames, truths, tracks, strict=True):
        similarity = frame.similarity
        rivals = similarity.sum(0) + similarity.sum(1)[:, None] - similarity
        share = np.divide(similarity, rivals, out=np.zeros_like(similarity), where=rivals > EPSILON)
        together[truth[:, None], track] += share
    return together / (present - together)


def _matched(frames: list[Overlap], truths: list[Ints], tracks: list[Ints], alignment: Floats) -> _Matched:
    """In each frame those pairs which fit best over the whole log."""
    found: list[tuple[Ints, Ints, Floats]] = []
    for frame, truth, track in zip(frames, truths, tracks, strict=True):
        if frame.similarity.size:
            rows, columns = linear_sum_assignment(alignment[truth[:, None], track] * frame.similarity, maximize=True)
            found.append((truth[rows], track[columns], frame.similarity[rows, columns]))
    if not found:
        return _Matched(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    parts = list(zip(*found, strict=True))
    return _Matched(np.concatenate(parts[0]), np.concatenate(parts[1]), np.concatenate(parts[2]))


def _association(matched: _Matched, right: NDArray[np.bool_], truth_counts: Ints, track_counts: Ints) -> float:
    """Mean over right pairs of the share of frames that their object and their track have in common.  # [M] -> []"""
    if not right.any():
        return 0.0
    pairs = matched.truths[right] * len(track_counts) + matched.tracks[right]
    pair, together = np.unique(pairs, return_counts=True)
    truth, track = np.divmod(pair, len(track_counts))
    either = truth_counts[truth] + track_counts[track] - together
    return float((together * (together / either)).sum() / together.sum())

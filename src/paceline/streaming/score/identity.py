"""IDF1: how long objects are followed under one id, when every object may claim one track of the whole log."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from paceline.streaming.frame import Log
from paceline.streaming.score.overlap import numbered, overlaps
from paceline.streaming.score.shown import Shown


@dataclass(frozen=True, slots=True)
class Identity:
    """Boxes under the right id, objects without one, boxes under a wrong one.

    >>> Identity(8, 2, 2).f1
    0.8
    """

    true_positives: int
    false_negatives: int
    false_positives: int

    @property
    def f1(self) -> float:
        """nan where there is neither object nor box."""
        total = self.true_positives + (self.false_negatives + self.false_positives) / 2
        return self.true_positives / total if total else math.nan


def identity(shown: Shown, log: Log, *, iou: float = 0.5, by_class: bool = False) -> Identity:
    """Ids are assigned once for all frames, so that as many boxes as possible are right."""
    frames = list(overlaps(shown, log, iou=iou, by_class=by_class))
    truths, truth_counts = numbered([frame.truth_ids for frame in frames])
    tracks, track_counts = numbered([frame.track_ids for frame in frames])
    together = np.zeros((len(truth_counts), len(track_counts)), np.int64)
    for frame, truth, track in zip(frames, truths, tracks, strict=True):
        rows, columns = (frame.similarity >= iou).nonzero()
        together[truth[rows], track[columns]] += 1
    right = int(together[linear_sum_assignment(together, maximize=True)].sum())
    return Identity(right, int(truth_counts.sum()) - right, int(track_counts.sum()) - right)

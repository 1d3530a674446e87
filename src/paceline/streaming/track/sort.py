"""SORT (Bewley et al., 2016, arXiv 1602.00763) with time in seconds: overlap with where a track should be by now decides.

A track is shown from its first detection on, and as long as it is not left unseen for more than ``max_age_s``: whoever wants fewer
false alarms asks detections for higher scores.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Final, final

import numpy as np

from paceline.clock import to_microseconds, to_seconds
from paceline.streaming.frame import Detections, Ints, Size, Tracks
from paceline.streaming.track.kalman import Kalman
from paceline.streaming.track.tracker import matched, usable

LOST_US: Final = 2_000_000  # where things went in a longer pause is anybody's guess, so nothing is matched over it


class Motion(ABC):
    """Tracks with a constant-velocity filter: all but the matching, which is in ``assign``."""

    def __init__(self, max_age_s: float, match_iou: float, size: Size) -> None:
        self._num_unusable = 0
        self._kalman = Kalman.empty()
        self._ids = self._classes = self._seen_us = np.zeros(0, np.int64)
        self._scores = np.zeros(0)
        self._now_us: int | None = None
        self._next_id = 1
        self.tune(max_age_s=max_age_s, match_iou=match_iou)

    @property
    def last_us(self) -> int | None:
        return self._now_us

    @property
    def num_unusable(self) -> int:
        return self._num_unusable

    def tune(self, *, max_age_s: float, match_iou: float) -> None:
        self._max_age_us, self._match_iou = to_microseconds(max_age_s), match_iou

    def update(self, detections: Detections, capture_us: int) -> None:
        given, detections = len(detections), usable(detections)
        self._num_unusable += given - len(detections)
        if self._now_us is not None:
            assert capture_us >= self._now_us, "late pictures are for History"
            self._forget(capture_us, max(self._max_age_us, LOST_US))
            self._kalman = self._kalman.at(to_seconds(capture_us - self._now_us))
        self._now_us = capture_us
        rows, columns, new = self.assign(detections)
        if len(rows):
            self._kalman = self._kalman.seen(rows, detections.boxes[columns])
            self._scores, self._classes, self._seen_us = (
                self._scores.copy(), self._classes.copy(), self._seen_us.copy(),
            )  # fmt: skip
            self._scores[rows], self._classes[rows] = detections.scores[columns], detections.classes[columns]
            self._seen_us[rows] = capture_us
        self._forget(capture_us, self._max_age_us)
        if len(new):
            self._begin(detections, new, capture_us)

    @abstractmethod
    def assign(self, detections: Detections) -> tuple[Ints, Ints, Ints]:
        """Rows of tracks, detections that belong to them, and detections that begin a track.  # [P], [P], [Q]"""

    def _forget(self, now_us: int, max_age_us: int) -> None:
        alive = now_us - self._seen_us <= max_age_us
        if not alive.all():
            self._kalman = self._kalman.only(alive)
            self._ids, self._classes = self._ids[alive], self._classes[alive]
            self._seen_us, self._scores = self._seen_us[alive], self._scores[alive]

    def _begin(self, detections: Detections, new: Ints, capture_us: int) -> None:
        self._kalman = self._kalman.beside(Kalman.of(detections.boxes[new]))
        self._ids = np.concatenate((self._ids, self._next_id + np.arange(len(new))))
        self._next_id += len(new)
        self._classes = np.concatenate((self._classes, detections.classes[new]))
        self._scores = np.concatenate((self._scores, detections.scores[new]))
        self._seen_us = np.concatenate((self._seen_us, np.full(len(new), capture_us)))

    def emitted(self) -> Tracks:
        return self._at(self._kalman, self._now_us or 0)

    def tracks(self, at_us: int) -> Tracks:
        if self._now_us is None or at_us <= self._now_us:
            return self.emitted()
        return self._at(self._kalman.at(to_seconds(at_us - self._now_us)), at_us)

    def _at(self, kalman: Kalman, at_us: int) -> Tracks:
        ages_us = at_us - self._seen_us
        return Tracks(kalman.boxes(), self._ids, self._scores, self._classes, ages_us, kalman.deviations())

    def copy(self) -> Motion:
        return copy.copy(self)  # arrays are replaced, never written to


@final
class Sort(Motion):
    """Every detection has the same say."""

    def assign(self, detections: Detections) -> tuple[Ints, Ints, Ints]:
        rows, columns = matched(self._kalman.boxes(), detections.boxes, self._match_iou)
        new = np.ones(len(detections), bool)
        new[columns] = False
        return rows, columns, np.flatnonzero(new)

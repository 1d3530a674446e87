"""SORT as the Octopus authors ran it inside pylot (ECCV 2022), quirks included, to reproduce their figures with.

Time is counted in pictures. All live tracks are given out, new ones too; and each picture with detections predicts twice: once to match, once
more before boxes are given out, so they lie half a picture ahead or so, and tracks age twice as fast as ``max_age_s`` says.
"""

from __future__ import annotations

import copy
from typing import Final, final

import numpy as np
from scipy.optimize import linear_sum_assignment

from paceline.streaming.boxes import intersection_over_union
from paceline.streaming.frame import Detections, Floats, Ints, Size, Tracks
from paceline.streaming.track.tracker import usable

PICTURE_S: Final = 0.1  # of ``max_age_s``: their tracker was told a number of pictures, at 10 Hz
_FIRST = (10.0, 1e4)  # variances of a new track: its place, its velocity
_DRIFT = np.array((1.0, 1.0, 1.0)), np.array((0.01, 0.01, 0.0001))  # per prediction: centre and area, their velocities
_NOISE = np.array((1.0, 1.0, 10.0))  # of a detection's centre and area
_LEAST_AREA = 1.0  # where theirs no longer shrinks
_RATIO = 10.0, 1.0, 10.0  # width over height: first variance, drift, noise


@final
class Pylot:
    """The state of N tracks: centre and area with velocities, and the ratio of the sides."""

    def __init__(self, max_age_s: float, match_iou: float, size: Size) -> None:
        self._place = self._velocity = np.zeros((0, 3))
        self._variances = np.zeros((3, 0, 3))  # of the place, shared, of the velocity
        self._ratio = self._ratio_variance = self._scores = np.zeros(0)
        self._ids = self._classes = self._unseen = self._seen_us = np.zeros(0, np.int64)
        self._next_id, self._num_unusable = 1, 0
        self._now_us: int | None = None
        self.tune(max_age_s=max_age_s, match_iou=match_iou)

    def tune(self, *, max_age_s: float, match_iou: float) -> None:
        self._max_age, self._match_iou = round(max_age_s / PICTURE_S), match_iou

    @property
    def last_us(self) -> int | None:
        return self._now_us

    @property
    def num_unusable(self) -> int:
        return self._num_unusable

    def update(self, detections: Detections, capture_us: int) -> None:
        found = usable(detections)
        self._num_unusable += len(detections) - len(found)
        self._now_us = capture_us
        self._predict()
        rows, columns = self._matched(found.boxes)
        self._correct(rows, _measured(found.boxes[columns]))
        self._scores, self._classes, self._seen_us = self._scores.copy(), self._classes.copy(), self._seen_us.copy()
        self._scores[rows], self._classes[rows] = found.scores[columns], found.classes[columns]
        self._seen_us[rows] = capture_us
        self._begin(found, np.setdiff1d(np.arange(len(found)), columns), capture_us)
        self._keep(self._unseen <= self._max_age)
        self._predict()

    def skip(self) -> None:
        """A picture that no detector saw: tracks move on."""
        self._predict()

    def emitted(self) -> Tracks:
        deviations = np.sqrt(self._variances[0, :, :2].mean(1))
        return Tracks(
            self._boxes(), self._ids, self._scores, self._classes, (self._now_us or 0) - self._seen_us, deviations
        )

    def tracks(self, at_us: int) -> Tracks:
        """What was given out: theirs did not forecast."""
        return self.emitted()

    def copy(self) -> Pylot:
        return copy.copy(self)  # arrays are replaced, never written to

    def _predict(self) -> None:
        velocity = self._velocity.copy()
        velocity[self._place[:, 2] + velocity[:, 2] <= _LEAST_AREA, 2] = 0.0
        place, both, speed = self._variances
        self._place, self._velocity = self._place + velocity, velocity
        self._variances = np.stack((place + 2 * both + speed + _DRIFT[0], both + speed, speed + _DRIFT[1]))
        self._ratio_variance = self._ratio_variance + _RATIO[1]
        self._unseen = self._unseen + 1

    def _matched(self, boxes: Floats) -> tuple[Ints, Ints]:
        """Theirs first takes the pairs of largest overlap in sum, and only then leaves out those of too little.  # [M, 4] -> [P], [P]"""
        overlap = intersection_over_union(self._boxes()[:, None], boxes[None])
        rows, columns = linear_sum_assignment(overlap, maximize=True)
        good = (overlap[rows, columns] >= self._match_iou) & (overlap[rows, columns] > 0)
        return rows[good], columns[good]

    def _correct(self, rows: np.ndarray, measured: Floats) -> None:
        place, both, speed = self._variances[:, rows]
        surprise = measured[:, :3] - self._place[rows]
        trust, turn = place / (place + _NOISE), both / (place + _NOISE)
        self._place[rows] += trust * surprise
        self._velocity[rows] += turn * surprise
        self._variances[:, rows] = np.stack(((1 - trust) * place, (1 - trust) * both, speed - turn * both))
        of_ratio = self._ratio_variance[rows] / (self._ratio_variance[rows] + _RATIO[2])
        self._ratio = self._ratio.copy()
        self._ratio[rows] += of_ratio * (measured[:, 3] - self._ratio[rows])
        self._ratio_variance[rows] *= 1 - of_ratio
        self._unseen[rows] = 0

    def _begin(self, found: Detections, new: np.ndarray, capture_us: int) -> None:
        measured, count = _measured(found.boxes[new]), len(new)
        place, velocity = np.full((count, 3), _FIRST[0]), np.full((count, 3), _FIRST[1])
        self._place = np.concatenate((self._place, measured[:, :3]))
        self._velocity = np.concatenate((self._velocity, np.zeros((count, 3))))
        self._variances = np.concatenate((self._variances, np.stack((place, 0 * place, velocity))), 1)
        self._ratio = np.concatenate((self._ratio, measured[:, 3]))
        self._ratio_variance = np.concatenate((self._ratio_variance, np.full(count, _RATIO[0])))
        self._scores = np.concatenate((self._scores, found.scores[new]))
        self._ids = np.concatenate((self._ids, self._next_id + np.arange(count)))
        self._classes = np.concatenate((self._classes, found.classes[new]))
        self._unseen = np.concatenate((self._unseen, np.zeros(count, np.int64)))
        self._seen_us = np.concatenate((self._seen_us, np.full(count, capture_us)))
        self._next_id += count

    def _keep(self, alive: np.ndarray) -> None:
        self._place, self._velocity, self._variances = (
            self._place[alive],
            self._velocity[alive],
            self._variances[:, alive],
        )
        self._ratio, self._ratio_variance = self._ratio[alive], self._ratio_variance[alive]
        self._scores, self._ids, self._classes = self._scores[alive], self._ids[alive], self._classes[alive]
        self._unseen, self._seen_us = self._unseen[alive], self._seen_us[alive]

    def _boxes(self) -> Floats:
        width = np.sqrt(np.maximum(self._place[:, 2] * self._ratio, 0.0))
        height = self._place[:, 2] / np.maximum(width, 1e-9)
        half = np.stack((width, height), 1) / 2
        return np.concatenate((self._place[:, :2] - half, self._place[:, :2] + half), 1)


def _measured(boxes: Floats) -> Floats:
    """Centre, area, width over height.  # [N, 4] -> [N, 4]"""
    extent = boxes[:, 2:] - boxes[:, :2]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.concatenate((middle, extent.prod(1, keepdims=True), extent[:, :1] / extent[:, 1:]), 1)

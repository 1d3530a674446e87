"""What a tracker is, and the trackers there are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

import numpy as np
from scipy.optimize import linear_sum_assignment

from paceline.errors import ConfigError
from paceline.registry import Registry
from paceline.streaming.boxes import intersection_over_union
from paceline.streaming.frame import Detections, Floats, Ints, Size, Tracks


class Tracker(Protocol):
    """Keeps objects apart over time. Moments are microseconds."""

    @property
    def last_us(self) -> int | None:
        """When the last picture was taken."""
        ...

    @property
    def num_unusable(self) -> int:
        """Detections that were no boxes, or had no score; they are left out."""
        ...

    def tune(self, *, max_age_s: float, match_iou: float) -> None:
        """Other settings from now on; tracks stay."""
        ...

    def update(self, detections: Detections, capture_us: int) -> None:
        """What was found in a picture taken at ``capture_us``, no earlier than the last one."""
        ...

    def emitted(self) -> Tracks:
        """All objects at the moment of the last picture."""
        ...

    def tracks(self, at_us: int) -> Tracks:
        """All objects moved to a later moment. Changes nothing."""
        ...

    def copy(self) -> Tracker:
        """One that goes its own way from here."""
        ...


MakeTracker: TypeAlias = Callable[[float, float, Size], Tracker]
"""From ``max_age_s``, ``match_iou`` and the size of pictures."""

TRACKERS: Final[Registry[MakeTracker]] = Registry("tracker")
TRACKERS.register_lazy("sort", "paceline.streaming.track.sort:Sort")
TRACKERS.register_lazy("byte", "paceline.streaming.track.byte:Byte")
TRACKERS.register_lazy("pylot", "paceline.streaming.track.pylot:Pylot")


def make_tracker(name: str, *, max_age_s: float, match_iou: float, size: Size) -> Tracker:
    """A tracker that has seen nothing. ConfigError for an unknown name or settings out of range.

    >>> tracker = make_tracker("sort", max_age_s=0.3, match_iou=0.1, size=(640, 480))
    >>> tracker.update(Detections(np.array([[0.0, 0, 10, 10]]), np.array([0.9]), np.array([0])), 0)
    >>> tracker.emitted().ids
    array([1])
    """
    if not 0 <= max_age_s < math.inf:
        raise ConfigError(f"max_age_s must be >= 0, got {max_age_s}")
    if not 0 <= match_iou <= 1:
        raise ConfigError(f"match_iou must be in 0..1, got {match_iou}")
    return TRACKERS[name](max_age_s, match_iou, size)


def usable(detections: Detections) -> Detections:
    """Without boxes that are none (not finite, or without an area) and those whose score is no number."""
    boxes = detections.boxes
    good = np.isfinite(boxes).all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1) & np.isfinite(detections.scores)
    if good.all():
        return detections
    return Detections(boxes[good], detections.scores[good], detections.classes[good])


def matched(boxes: Floats, others: Floats, least: float) -> tuple[Ints, Ints]:
    """Pairs of largest overlap in sum, each of at least ``least``.  # [N, 4], [M, 4] -> [P], [P]"""
    if not (len(boxes) and len(others)):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    overlap = intersection_over_union(boxes[:, None], others[None])  # [N, M]
    near = (overlap >= least) & (overlap > 0)
    rows, columns = near.nonzero()
    if len(np.unique(rows)) == len(rows) == len(np.unique(columns)):  # there is nothing to choose
        return rows, columns
    rows, columns = linear_sum_assignment(np.where(near, overlap, 0.0), maximize=True)
    good = near[rows, columns]
    return rows[good], columns[good]

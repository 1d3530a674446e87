"""Results that come late are put in where they belong: the tracker goes back, takes them in, and rolls forward again."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple, final

from paceline.clock import to_microseconds
from paceline.streaming.frame import Detections, Tracks
from paceline.streaming.track.tracker import Tracker

REACH_S: Final = 2.0  # results older than this are not taken in any more


class _Update(NamedTuple):
    capture_us: int
    detections: Detections
    before: Tracker  # as it was; never changed, since copies share it


@final
class History:
    """Another tracker, with a memory of its last updates. Ids given since a late picture are given anew."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._updates: deque[_Update] = deque()
        self._settings: tuple[float, float] | None = None  # as last tuned
        self.num_too_late = 0

    @property
    def last_us(self) -> int | None:
        return self._tracker.last_us

    @property
    def num_unusable(self) -> int:
        return self._tracker.num_unusable

    def tune(self, *, max_age_s: float, match_iou: float) -> None:
        self._settings = max_age_s, match_iou
        self._tracker.tune(max_age_s=max_age_s, match_iou=match_iou)

    def update(self, detections: Detections, capture_us: int) -> None:
        """Pictures may come in any order; one that is more than ``REACH_S`` older than the newest is counted and left out."""
        later: list[tuple[Detections, int]] = []
        if self._updates and capture_us < self._updates[-1].capture_us - to_microseconds(REACH_S):
            self.num_too_late += 1
            return
        while self._updates and self._updates[-1].capture_us > capture_us:
            undone = self._updates.pop()
            later.append((undone.detections, undone.capture_us))
            self._go_back(undone.before)
        for found, at_us in ((detections, capture_us), *reversed(later)):
            self._updates.append(_Update(at_us, found, self._tracker.copy()))
            self._tracker.update(found, at_us)
        while self._updates[0].capture_us < self._updates[-1].capture_us - to_microseconds(REACH_S):
            self._updates.popleft()

    def _go_back(self, before: Tracker) -> None:
        self._tracker = before.copy()
        if self._settings is not None:
            max_age_s, match_iou = self._settings
            self._tracker.tune(max_age_s=max_age_s, match_iou=match_iou)

    def emitted(self) -> Tracks:
        return self._tracker.emitted()

    def tracks(self, at_us: int) -> Tracks:
        return self._tracker.tracks(at_us)

    def copy(self) -> History:
        other = History(self._tracker.copy())
        other._updates, other._settings = self._updates.copy(), self._settings
        other.num_too_late = self.num_too_late
        return other

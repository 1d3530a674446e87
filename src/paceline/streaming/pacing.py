"""When to start on the frame that waits: asks the rule once, and waits for what it waits for. Pure."""

from __future__ import annotations

from collections import deque
from statistics import median_low
from typing import Final, final

from paceline.streaming.sequence import Rule

GRACE: Final = 0.25  # of an interval that a frame may come early or late
_GAPS: Final = 5  # intervals whose median is the next
_FIRST_GAP_US: Final = 100_000  # until there are two frames


@final
class Pacing:
    """Of one pipeline. A decision counts from the moment that made it possible, however late somebody asks for it.

    >>> from paceline.streaming.sequence import NextFrame
    >>> pacing = Pacing(NextFrame())
    >>> pacing.arrived(0, 0); pacing.start_at(20, 90_000)
    20
    >>> pacing.started(); pacing.arrived(100_000, 100_000); pacing.freed(130_000); pacing.start_at(130_000, 90_000)
    225000
    >>> pacing.arrived(200_000, 200_300); pacing.start_at(200_300, 90_000)
    200300
    """

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._gaps_us: deque[int] = deque([_FIRST_GAP_US], maxlen=_GAPS)
        self._capture_us: int | None = None
        self._arrival_us = 0
        self._free_us = 0
        self._planned: tuple[int, int] | None = (
            None  # from when a new frame is taken at once, until when there is idling
        )

    def arrived(self, capture_us: int, now: int) -> None:
        """A newer frame waits than any before."""
        if self._capture_us is not None:
            if len(self._gaps_us) == 1 and self._gaps_us[0] == _FIRST_GAP_US:
                self._gaps_us.clear()
            self._gaps_us.append(capture_us - self._capture_us)
        self._capture_us, self._arrival_us = capture_us, now
        if self._planned is not None and now >= self._planned[0]:
            self._planned = now, now

    def freed(self, now: int) -> None:
        """A worker has nothing to do any more."""
        self._free_us = now

    def started(self) -> None:
        """The frame was taken, or is not wanted any more."""
        self._planned = None

    def start_at(self, now: int, runtime_us: int) -> int:
        """When to ask again, or ``now``: start."""
        if self._planned is None:
            moment, gap_us = max(self._arrival_us, self._free_us), median_low(self._gaps_us)
            following = self._arrival_us + gap_us
            start = self._rule.start_at(moment, self._arrival_us, following, runtime_us)
            grace_us = round(GRACE * gap_us) if start >= following else 0
            self._planned = start - grace_us, start + grace_us if start > moment else start
        return max(now, self._planned[1])

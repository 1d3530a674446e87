"""Puts pictures on one line of time that rises, whatever the file says. Pure."""

from __future__ import annotations

from typing import Final, final

from paceline.clock import MICROSECONDS

LEAP_US: Final = MICROSECONDS  # what lies further off than this is another clock, not a late picture
LEAP_GAPS: Final = 4  # unless pictures are that rare


@final
class Timeline:
    """Times from 0 on. A picture that lies up to a second before its predecessor is dropped: the file has caught up soon. A leap of more
    than a second, back or forth, is a clock that was set or a hole; the next picture follows at once, so no replay stands still for
    longer. A clock that stood still for a second's worth of pictures is not believed any more.

    >>> line = Timeline(gap_us=100_000)
    >>> [line.place(at) for at in (7_000_000, 7_100_000, 7_050_000, 7_200_000, 0, 100_000, None)]
    [0, 100000, None, 200000, 300000, 400000, 500000]
    >>> line.restarts
    1
    """

    def __init__(self, gap_us: int, *, believed: bool = True) -> None:
        assert gap_us > 0
        self.restarts = 0
        self._gap_us, self._believed = gap_us, believed
        self._last_us: int | None = None
        self._shift_us = 0
        self._lost_us = 0  # time of lost pictures, where no clock tells of it
        self._num_behind = 0

    def lose(self) -> None:
        """A picture was lost before it could be placed."""
        self._lost_us += self._gap_us

    def place(self, at_us: int | None) -> int | None:
        """When the picture that the file puts at ``at_us`` was taken; None if it comes too late to be told."""
        time_us = self._first(at_us) if self._last_us is None else self._next(self._last_us, at_us)
        if time_us is None:
            return None
        self._last_us, self._num_behind, self._lost_us = time_us, 0, 0
        return time_us

    def _first(self, at_us: int | None) -> int:
        self._shift_us = -(at_us or 0)
        return 0

    def _next(self, last_us: int, at_us: int | None) -> int | None:
        if at_us is None or not self._believed:
            return last_us + self._gap_us + self._lost_us
        time_us = at_us + self._shift_us
        if last_us < time_us <= last_us + max(LEAP_US, LEAP_GAPS * self._gap_us):
            return time_us
        if last_us - LEAP_US < time_us <= last_us:
            self._num_behind += 1
            if self._num_behind * self._gap_us < LEAP_US:
                return None
            self._believed = False
        self.restarts += 1
        self._shift_us = last_us + self._gap_us - at_us
        return last_us + self._gap_us

"""Time for drivers: integer microseconds that never go back.

Schedulers are handed ``now`` and own no clock; only the loop that drives one does. Microseconds
are integers because sums of float seconds break exact comparisons of deadlines.
"""

from __future__ import annotations

import time
from typing import Protocol, final

MICROSECONDS = 1_000_000  # in one second


def to_microseconds(seconds: float) -> int:
    """Whole microseconds of a duration given in seconds, rounded to the nearest.

    >>> to_microseconds(0.0015)
    1500
    """
    return round(seconds * MICROSECONDS)


def to_seconds(microseconds: int) -> float:
    """Seconds of a duration given in microseconds.

    >>> to_seconds(1500)
    0.0015
    """
    return microseconds / MICROSECONDS


class Clock(Protocol):
    """Where a driver reads the time."""

    def now(self) -> int:
        """Microseconds since a fixed moment; monotonic."""
        ...


@final
class WallClock:
    """The machine's monotonic clock; jumps of the calendar do not touch it."""

    def now(self) -> int:
        return time.monotonic_ns() // 1000


@final
class VirtualClock:
    """Time that passes only when told to.

    >>> clock = VirtualClock()
    >>> clock.advance(250)
    >>> clock.now()
    250
    """

    def __init__(self, start: int = 0) -> None:
        self._now = start

    def now(self) -> int:
        return self._now

    def advance(self, microseconds: int) -> None:
        """Lets ``microseconds >= 0`` pass."""
        self.set(self._now + microseconds)

    def set(self, now: int) -> None:
        """Moves to ``now``, which must not lie in the past."""
        assert now >= self._now, f"time would run back from {self._now} to {now}"
        self._now = now

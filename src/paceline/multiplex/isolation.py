"""Bounds on what one tenant can do to the others: a rate, and exclusion that doubles when it was no use. Pure."""

from __future__ import annotations

from typing import final

from paceline.clock import MICROSECONDS, to_microseconds, to_seconds

_BURST_S = 0.25  # a tenant may send this many seconds' worth of its rate at once


@final
class TokenBucket:
    """So many requests per second in the long run, some more at once.

    >>> bucket = TokenBucket(rate=4.0)
    >>> [bucket.take(0), bucket.take(0), bucket.take(250_000)]
    [0.0, 0.25, 0.0]
    """

    __slots__ = ("_at", "_capacity", "_per_microsecond", "_tokens")

    def __init__(self, rate: float) -> None:
        self._per_microsecond = rate / MICROSECONDS
        self._capacity = max(1.0, rate * _BURST_S)
        self._tokens = self._capacity
        self._at: int | None = None

    def take(self, now: int) -> float:
        """Takes a token and returns 0, or takes none and returns the seconds until there is one."""
        if self._at is not None:
            self._tokens = min(self._capacity, self._tokens + (now - self._at) * self._per_microsecond)
        self._at = now
        if self._tokens >= 1.0 - 1e-9:  # what rounding has cost
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._per_microsecond / MICROSECONDS


@final
class Unlimited:
    """The bucket of a tenant without a rate."""

    __slots__ = ()

    def take(self, now: int) -> float:
        return 0.0


@final
class BackOff:
    """An exclusion that ends by itself and lasts twice as long the next time, unless all was well in between.

    >>> trouble = BackOff(first_s=1.0, last_s=60.0)
    >>> trouble.begin(0)
    >>> trouble.left_s(400_000), trouble.left_s(1_000_000)
    (0.6, 0.0)
    >>> trouble.begin(1_000_000)
    >>> trouble.left_s(1_000_000)
    2.0
    """

    __slots__ = ("_first", "_last", "_length", "strikes", "until")

    def __init__(self, *, first_s: float, last_s: float) -> None:
        self._first = to_microseconds(first_s)
        self._last = to_microseconds(last_s)
        self._length = 0  # of the newest exclusion, 0 if there was none
        self.until = 0
        self.strikes = 0  # counted by whoever excludes

    def begin(self, now: int) -> None:
        self._length = min(2 * self._length, self._last) if self._length else self._first
        self.until = now + self._length
        self.strikes = 0

    def left_s(self, now: int) -> float:
        """Seconds until it ends; 0 outside one."""
        return to_seconds(max(0, self.until - now))

    def clear(self) -> None:
        """All is well: the next one is short again."""
        self._length = self.strikes = 0

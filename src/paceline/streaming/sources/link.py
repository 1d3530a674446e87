"""When to try a camera again, when it counts as stalled, when to give it up. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from paceline.clock import MICROSECONDS
from paceline.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a camera is waited for. ``stall_s`` without a picture is a stall; an attempt to open may take ``open_s``; attempts follow
    after ``first_wait_s``, then twice that, up to ``longest_wait_s``; after ``give_up_s`` without a picture the source ends."""

    stall_s: float = 1.0
    open_s: float = 5.0
    first_wait_s: float = 0.1
    longest_wait_s: float = 5.0
    give_up_s: float = 30.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, got {getattr(self, name)}")


@final
class Link:
    """The state of a connection. At most one attempt counts at a time; what older ones still say is not heard.

    >>> link = Link(Patience(), now=0)
    >>> link.due(now=0), link.start(now=0)
    (True, 1)
    >>> link.fail("refused", now=1000)
    >>> link.due(now=50_000), link.due(now=101_000)
    (False, True)
    """

    def __init__(self, patience: Patience, now: int) -> None:
        self.reason = "no attempt yet"
        self.attempt = 0  # the one that counts
        self._patience = patience
        self._live_at = now  # the newest picture, or the beginning
        self._retry_at: int | None = now  # None while an attempt runs
        self._deadline = now
        self._num_failures = 0

    def due(self, now: int) -> bool:
        """It is time for another attempt."""
        return self._retry_at is not None and now >= self._retry_at

    def start(self, now: int) -> int:
        """An attempt begins; its number."""
        self.attempt += 1
        self._retry_at = None
        self._deadline = now + _us(self._patience.open_s)
        return self.attempt

    def live(self, now: int) -> None:
        """A picture came."""
        self._live_at = now
        self._deadline = now + _us(self._patience.stall_s)
        self._num_failures = 0

    def fail(self, reason: str, now: int) -> None:
        """The attempt that counts is over."""
        self.reason = reason
        wait_s = min(self._patience.first_wait_s * 2.0**self._num_failures, self._patience.longest_wait_s)
        self._num_failures = min(self._num_failures + 1, 32)
        self._retry_at = now + _us(wait_s)

    def stalled(self, now: int) -> bool:
        return self._retry_at is None and now >= self._deadline

    def lost(self, now: int) -> bool:
        """No picture for so long that nobody need wait on."""
        return now >= self._live_at + _us(self._patience.give_up_s)

    def next_check(self) -> int:
        """When one of the answers above may change."""
        soon = self._deadline if self._retry_at is None else self._retry_at
        return min(soon, self._live_at + _us(self._patience.give_up_s))


def _us(seconds: float) -> int:
    return round(seconds * MICROSECONDS)

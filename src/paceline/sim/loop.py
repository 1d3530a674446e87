"""Events in virtual time, in an order that never depends on chance."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import final

from paceline.clock import VirtualClock


@final
class EventLoop:
    """A queue of actions by time. Ties go by ``rank``, then by order of submission.

    >>> loop, seen = EventLoop(), []
    >>> loop.at(20, lambda: seen.append("late"))
    >>> loop.at(10, lambda: seen.append("b"), rank=1)
    >>> loop.at(10, lambda: seen.append("a"))
    >>> loop.run()
    >>> seen, loop.clock.now()
    (['a', 'b', 'late'], 20)
    """

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        self._events: list[tuple[int, int, int, Callable[[], None]]] = []
        self._num_submitted = 0

    def at(self, time: int, action: Callable[[], None], *, rank: int = 0) -> None:
        """Runs ``action`` when the clock reaches ``time`` (microseconds), which must not be past."""
        assert time >= self.clock.now(), f"an event at {time} comes after {self.clock.now()} has passed"
        heapq.heappush(self._events, (time, rank, self._num_submitted, action))
        self._num_submitted += 1

    def step(self, until: int | None = None) -> bool:
        """Moves to the next time that has events and runs all of them; False if there is none up to ``until``."""
        if not self._events or (until is not None and self._events[0][0] > until):
            return False
        now = self._events[0][0]
        self.clock.set(now)
        while self._events and self._events[0][0] == now:
            heapq.heappop(self._events)[3]()
        return True

    def run(self, until: int | None = None) -> None:
        """Steps until nothing is left, or nothing up to ``until``."""
        while self.step(until):
            pass

"""Answers on their way to those who wait: one wake-up for all that a launch has answered."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, final

from torch import Tensor

from paceline.errors import PacelineError

Outcome: TypeAlias = Sequence[Tensor] | PacelineError
Done: TypeAlias = Callable[[Outcome], None]

_log = logging.getLogger(__name__)


def tell(done: Done, outcome: Outcome) -> None:
    """Calls ``done``; whatever it raises is its owner's fault, and harms nobody else."""
    try:
        done(outcome)
    except Exception:
        _log.exception("a callback for an answer raised")


@final
class Mailbox:
    """Of one event loop. ``put`` and ``flush`` may be called by any thread, ``deliver`` by the loop's.

    Waking a loop costs as much as a small request, so nothing wakes it before ``flush``, and nothing twice.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._answers: deque[tuple[asyncio.Future[Any], Outcome]] = deque()
        self._is_woken = False

    def put(self, future: asyncio.Future[Any], outcome: Outcome) -> None:
        self._answers.append((future, outcome))

    def flush(self) -> None:
        """Has what was put in handed over."""
        if not self._answers or self._is_woken:
            return
        self._is_woken = True
        try:
            self.loop.call_soon_threadsafe(self._woken)
        except RuntimeError:  # the loop was closed: nobody waits any more
            self._answers.clear()
            self._is_woken = False

    def _woken(self) -> None:
        self._is_woken = False  # first: what is put in from now on wakes the loop again
        self.deliver()

    def deliver(self) -> None:
        """Hands over what was put in."""
        answers = self._answers
        while answers:
            future, outcome = answers.popleft()
            if future.done():  # cancelled
                continue
            if isinstance(outcome, PacelineError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


@final
class Tally:
    """Collects the outcomes of many requests and tells once, when all are there."""

    def __init__(self, count: int, done: Callable[[list[Outcome]], None]) -> None:
        self._outcomes: list[Outcome] = [()] * count
        self._num_open = count
        self._lock = threading.Lock()
        self._done = done
        if not count:
            done(self._outcomes)

    def put(self, place: int, outcome: Outcome) -> None:
        """The outcome of request number ``place``; called once for each, by any thread."""
        self._outcomes[place] = outcome
        with self._lock:
            self._num_open -= 1
            last = self._num_open == 0
        if last:
            self._done(self._outcomes)

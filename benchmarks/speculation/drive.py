"""Open-loop load on an engine in this process, without waiting for what nobody does.

Requests come in at given moments, whatever the engine is busy with, and are timed from the moment
they were *meant* to come: a driver that holds a request back while the engine is busy would hide the
queue (coordinated omission). Where the engine is idle, the clock is moved to the next arrival, so a run
costs its busy time alone. Everything that runs is timed for real.
"""

from __future__ import annotations

import gc
import time
import zlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from paceline.llm.core import EngineCore
from paceline.llm.request import Delta, Request
from paceline.sim.arrivals import poisson

MAX_RUN_S = 240.0  # busy; an engine that falls behind by this much is broken


class SkippingClock:
    """Seconds since it was made: those that passed, and those that were skipped."""

    def __init__(self, read: Callable[[], float] = time.perf_counter) -> None:
        self._read = read
        self._start = read()
        self.skipped_s = 0.0

    def now(self) -> float:
        return self._read() - self._start + self.skipped_s

    def skip_to(self, moment_s: float) -> None:
        """
        >>> clock = SkippingClock(lambda: 7.0)
        >>> clock.skip_to(2.5)
        >>> clock.now(), clock.skipped_s
        (2.5, 2.5)
        """
        self.skipped_s += max(0.0, moment_s - self.now())


@dataclass(slots=True)
class Served:
    """What became of one request; moments in seconds on the run's clock."""

    arrival_s: float
    first_s: float = 0.0
    finish_s: float = 0.0
    tokens: array[int] = field(default_factory=lambda: array("i"))
    num_drafted: int = 0
    num_accepted: int = 0

    @property
    def latency_s(self) -> float:
        return self.finish_s - self.arrival_s

    @property
    def digest(self) -> int:
        """Equal answers have equal digests."""
        return zlib.crc32(self.tokens.tobytes())

    def take(self, delta: Delta, now_s: float) -> None:
        if delta.token_ids and not self.tokens:
            self.first_s = now_s
        self.tokens.extend(delta.token_ids)
        if delta.finish_reason is not None:
            if delta.finish_reason not in ("stop", "length"):
                raise RuntimeError(f"{delta.request_id} ended with {delta.finish_reason}: {delta.error}")
            self.finish_s = now_s
            self.num_drafted, self.num_accepted = delta.num_drafted, delta.num_accepted


@dataclass(frozen=True, slots=True)
class Run:
    """The requests in the order of their arrival; ``busy_s`` leaves out what was skipped."""

    served: tuple[Served, ...]
    busy_s: float

    @property
    def num_tokens(self) -> int:
        return sum(len(one.tokens) for one in self.served)


def drive(
    core: EngineCore,
    requests: Sequence[Request],
    arrivals_s: Sequence[float],
    watch: Callable[[float, list[Delta]], None] | None = None,
) -> Run:
    """Serves ``requests[i]`` from ``arrivals_s[i]`` (ascending) on. ``watch`` sees the deltas of every step.

    The garbage of earlier runs is collected before, none during the run.
    """
    served = {request.request_id: Served(at) for request, at in zip(requests, arrivals_s, strict=True)}
    gc.collect()
    gc.disable()
    try:
        clock = SkippingClock()
        num_submitted = 0
        while num_submitted < len(requests) or not core.idle:
            now_s = clock.now()
            if core.idle:
                clock.skip_to(arrivals_s[num_submitted])
                now_s = clock.now()
            while num_submitted < len(requests) and arrivals_s[num_submitted] <= now_s:
                core.submit(requests[num_submitted])
                num_submitted += 1
            deltas = core.step()
            now_s = clock.now()
            for delta in deltas:
                served[delta.request_id].take(delta, now_s)
            if watch is not None:
                watch(now_s, deltas)
            if now_s - clock.skipped_s > MAX_RUN_S:
                raise RuntimeError(f"{len(requests)} requests take longer than {MAX_RUN_S:g} s")
        return Run(tuple(served.values()), clock.now() - clock.skipped_s)
    finally:
        gc.enable()


def arrivals(rate_per_s: float, count: int, seed: int) -> list[float]:
    """Poisson arrivals, the first at 0.

    >>> first, *others = arrivals(100.0, 3, seed=0)
    >>> first, others == sorted(others)
    (0.0, True)
    """
    times = [arrival.at for arrival in poisson(rate_per_s, range(count), seed=seed)]
    return [(at - times[0]) / 1e6 for at in times]


def at_once(count: int) -> list[float]:
    """Everybody at the start: offline work."""
    return [0.0] * count

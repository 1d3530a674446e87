"""When a worker starts, and on which frame. Pure.

Always the newest frame: older ones nobody needs any more. What a rule decides is whether to start on it at once or to idle until
the next comes, which then is fresh.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final, Literal, Protocol, final

import numpy as np

from paceline.errors import ConfigError
from paceline.registry import Registry
from paceline.streaming.frame import Ints

INFINITE: Final = "infinite"  # a worker per frame


class Rule(Protocol):
    """Decides for a free worker; the newest frame is one that nobody has started on."""

    def start_at(self, now_us: int, newest_capture_us: int, next_capture_us: int, runtime_us: int) -> int:
        """When to start, ``now_us`` or later: on what is newest then.

        Captures are the moments at which frames come in, on the clock of ``now_us``; ``runtime_us`` is what the run will take.
        """
        ...


@final
class Eager:
    """At once."""

    def start_at(self, now_us: int, newest_capture_us: int, next_capture_us: int, runtime_us: int) -> int:
        return now_us


@final
class NextFrame:
    """Only on a frame that has just come in.

    >>> NextFrame().start_at(254_000, 200_000, 300_000, 254_000)
    300000
    """

    def start_at(self, now_us: int, newest_capture_us: int, next_capture_us: int, runtime_us: int) -> int:
        return now_us if now_us == newest_capture_us else max(now_us, next_capture_us)


@final
class TailAware:
    """Idles where the run would end earlier in its frame interval than it starts: on the next frame it ends no later.

    The shrinking tail of Li, Wang and Ramanan, "Towards Streaming Perception" (ECCV 2020).

    >>> rule = TailAware()
    >>> rule.start_at(250_000, 200_000, 300_000, 125_000), rule.start_at(375_000, 300_000, 400_000, 125_000)
    (250000, 400000)
    """

    def start_at(self, now_us: int, newest_capture_us: int, next_capture_us: int, runtime_us: int) -> int:
        gap = next_capture_us - newest_capture_us
        if gap <= 0 or next_capture_us <= now_us:
            return now_us
        phase = (now_us - newest_capture_us) % gap
        return next_capture_us if (phase + runtime_us) % gap < phase else now_us


RULES: Final = Registry[Rule]("scheduling rule")
RULES.register("eager", Eager())
RULES.register("wait", NextFrame())
RULES.register("tail-aware", TailAware())


@dataclass(frozen=True, slots=True)
class Processed:
    """One frame that a worker took."""

    index: int
    start_us: int
    emit_us: int


def processed(
    rule: Rule, times_us: Ints, runtimes_us: Ints, num_workers: int | Literal["infinite"] = 1
) -> tuple[Processed, ...]:
    """Which frames of a log are taken, in order of start; the others are dropped.

    ``times_us`` [F] ascending, ``runtimes_us`` [F] of each frame if it is taken. A rule is told the last runtime of its worker, and
    0 before the first.

    >>> times = np.arange(4) * 100
    >>> [each.index for each in processed(Eager(), times, np.full(4, 160))]
    [0, 1, 3]
    """
    _check(times_us, runtimes_us, num_workers)
    times, runtimes = times_us.tolist(), runtimes_us.tolist()
    if num_workers == INFINITE or num_workers >= len(times):  # a worker is free whenever a frame comes in
        return tuple([Processed(i, at, at + runtimes[i]) for i, at in enumerate(times)])
    upcoming = times[1:] + [2 * time - before for before, time in zip(times[-2:-1], times[-1:], strict=True)]
    workers = [(times[0], worker, False) for worker in range(num_workers)]  # (free at, worker, has idled)
    known, taken, result = [0] * num_workers, -1, []
    while workers:
        now, worker, idled = heappop(workers)
        newest = bisect_right(times, now) - 1
        if newest == taken:
            if taken + 1 < len(times):
                heappush(workers, (times[taken + 1], worker, False))
            continue
        start = now if idled else rule.start_at(now, times[newest], upcoming[newest], known[worker])
        assert start >= now, "a rule wants to start in the past"
        if start > now:
            if newest + 1 < len(times):  # else it idles for a frame that never comes
                heappush(workers, (start, worker, True))
            continue
        taken, known[worker] = newest, runtimes[newest]
        result.append(Processed(newest, now, now + runtimes[newest]))
        heappush(workers, (now + runtimes[newest], worker, False))
    return tuple(result)


def _check(times_us: Ints, runtimes_us: Ints, num_workers: int | Literal["infinite"]) -> None:
    if len(times_us) != len(runtimes_us):
        raise ConfigError(f"{len(times_us)} frames but {len(runtimes_us)} runtimes; one is needed for each frame")
    if (np.diff(times_us) <= 0).any():
        raise ConfigError("times of frames must rise")
    if (runtimes_us < 0).any():
        raise ConfigError(f"runtimes must be >= 0, got {int(runtimes_us.min())} us")
    if num_workers != INFINITE and num_workers < 1:
        raise ConfigError(f'num_workers must be >= 1 or "infinite", got {num_workers}')

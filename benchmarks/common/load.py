"""Load on a server: open loop at given arrivals, or a fixed number of clients that never pause.

Open loop times every request from the moment it was *meant* to start. A generator that waits for
answers before it sends the next request hides the queue it has caused (coordinated omission).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from benchmarks.common.intervals import percentile
from benchmarks.common.stream import Answer

MAX_LAG_S = 0.010  # a run whose generator is later than this at p99 measured the generator


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request: when it was meant to start and what came back."""

    intended_s: float
    answer: Answer

    @property
    def lag_s(self) -> float:
        return self.answer.sent_s - self.intended_s

    @property
    def ttft_s(self) -> float:
        """From the intended start to the first text; infinite when none came."""
        return self.answer.stamps_s[0] - self.intended_s if self.answer.stamps_s else float("inf")

    @property
    def tpot_s(self) -> float:
        """Mean time per token after the first; 0 for a single token, infinite when the stream failed."""
        if not self.answer.complete or not self.answer.stamps_s:
            return float("inf")
        span_s = self.answer.stamps_s[-1] - self.answer.stamps_s[0]
        return span_s / max(1, self.answer.num_tokens - 1)


@dataclass(frozen=True, slots=True)
class LoadReport:
    """All outcomes of a run and how long it took."""

    outcomes: tuple[Outcome, ...]
    seconds: float

    @property
    def num_tokens(self) -> int:
        return sum(outcome.answer.num_tokens for outcome in self.outcomes if outcome.answer.complete)

    @property
    def num_failed(self) -> int:
        return sum(not outcome.answer.complete for outcome in self.outcomes)

    @property
    def tokens_per_s(self) -> float:
        return self.num_tokens / self.seconds

    def lag_p99_s(self) -> float:
        return percentile(sorted(outcome.lag_s for outcome in self.outcomes), 0.99)

    @property
    def trustworthy(self) -> bool:
        """The generator kept its own schedule."""
        return self.lag_p99_s() <= MAX_LAG_S

    def goodput_per_s(self, *, ttft_s: float, tpot_s: float) -> float:
        """Requests per second that met both bounds."""
        good = sum(outcome.ttft_s <= ttft_s and outcome.tpot_s <= tpot_s for outcome in self.outcomes)
        return good / self.seconds


async def open_loop(arrivals_s: Sequence[float], send: Callable[[int], Awaitable[Answer]]) -> LoadReport:
    """Starts request ``i`` at ``arrivals_s[i]`` seconds (ascending), whatever the others do."""
    start_s = time.perf_counter()

    async def one(index: int, intended_s: float) -> Outcome:
        return Outcome(intended_s, await send(index))

    tasks = []
    for index, offset_s in enumerate(arrivals_s):
        intended_s = start_s + offset_s
        await asyncio.sleep(max(0.0, intended_s - time.perf_counter()))
        tasks.append(asyncio.create_task(one(index, intended_s)))
    outcomes = await asyncio.gather(*tasks)
    return LoadReport(tuple(outcomes), time.perf_counter() - start_s)


async def closed_loop(num_clients: int, num_requests: int, send: Callable[[int, int], Awaitable[Answer]]) -> LoadReport:
    """``send(client, request)`` from every client back to back until all requests were taken: for throughput, not latency."""
    start_s = time.perf_counter()
    waiting = iter(range(num_requests))
    outcomes: list[Outcome] = []

    async def client(number: int) -> None:
        for index in waiting:
            intended_s = time.perf_counter()
            outcomes.append(Outcome(intended_s, await send(number, index)))

    await asyncio.gather(*(client(number) for number in range(num_clients)))
    return LoadReport(tuple(outcomes), time.perf_counter() - start_s)

"""Load on an arm: at given arrivals, whatever the answers do, or from clients that never pause."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor, nn

from benchmarks.common.intervals import percentile
from benchmarks.multiplex.alarm import Alarm
from benchmarks.multiplex.arms import Arm, undisturbed
from benchmarks.multiplex.traffic import LARGE_ROWS, Call
from paceline.errors import PacelineError

_CHECKED: Final = 16  # one answer in so many is compared with the model's own
_RTOL, _ATOL = 1e-4, 1e-5


@dataclass(frozen=True, slots=True)
class Inputs:
    """What tenants send: one row, or several, of which those of the noisy one hold NaN; and what is right for the one row."""

    one: list[Tensor]
    right: list[Tensor]
    noise: dict[int, Tensor]  # by rows

    def of(self, call: Call) -> Tensor:
        return self.noise[call.rows] if call.noise else self.one[call.tenant]


def make_inputs(models: Sequence[nn.Module], example: Tensor) -> Inputs:
    torch.manual_seed(1)
    one = [torch.randn_like(example[:1]) for _ in models]
    with torch.inference_mode():
        right = [model(x) for model, x in zip(models, one, strict=True)]
    noise = {rows: torch.full((rows, *example.shape[1:]), torch.nan) for rows in (1, LARGE_ROWS)}
    return Inputs(one, right, noise)


@dataclass(slots=True)
class Run:
    """What became of a run's calls. Latencies from the intended arrival, of the answers that came."""

    seconds: float = 0.0
    num_calls: int = 0
    num_in_time: int = 0
    num_wrong: int = 0
    latencies_s: list[float] = field(default_factory=list)
    lags_s: list[float] = field(default_factory=list)  # how late the generator was

    @property
    def goodput(self) -> float:
        """Calls answered in time, per second."""
        return self.num_in_time / self.seconds

    def latency_s(self, share: float) -> float | None:
        return percentile(sorted(self.latencies_s), share) if self.latencies_s else None


def open_loop(arm: Arm, calls: Sequence[Call], inputs: Inputs, *, slo_s: float, seconds: float) -> Run:
    """Sends every call at its time. What is not answered ``slo_s`` after the last call is given up."""
    run = Run(seconds=seconds)
    with undisturbed():
        asyncio.run(_drive(arm, calls, inputs, slo_s, run))
    return run


async def _drive(arm: Arm, calls: Sequence[Call], inputs: Inputs, slo_s: float, run: Run) -> None:
    start_s = time.perf_counter()

    async def one(call: Call, number: int) -> None:
        due_s = start_s + call.at_s + slo_s
        try:
            output = await arm.infer(call.tenant, inputs.of(call), max(1e-6, due_s - time.perf_counter()))
        except (PacelineError, asyncio.CancelledError):
            return
        late_s = time.perf_counter() - due_s
        if call.noise:
            return
        run.latencies_s.append(late_s + slo_s)
        run.num_in_time += late_s <= 0.0
        if number % _CHECKED == 0:
            run.num_wrong += not torch.allclose(output, inputs.right[call.tenant], rtol=_RTOL, atol=_ATOL)

    tasks: list[asyncio.Task[None]] = []
    with Alarm() as alarm:
        for number, call in enumerate(calls):
            await alarm.until(start_s + call.at_s)
            run.lags_s.append(time.perf_counter() - start_s - call.at_s)
            tasks.append(asyncio.create_task(one(call, number)))
        run.num_calls = sum(not call.noise for call in calls)
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=slo_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def closed_loop(arm: Arm, inputs: Inputs, *, in_flight: int, seconds: float) -> float:
    """Requests per second of tenants that always have so many open, each with one row."""
    with undisturbed():
        return asyncio.run(_saturate(arm, inputs, in_flight, seconds))


async def _saturate(arm: Arm, inputs: Inputs, in_flight: int, seconds: float) -> float:
    count = 0
    until_s = time.perf_counter() + seconds

    async def client(tenant: int) -> None:
        nonlocal count
        x = inputs.one[tenant]
        while time.perf_counter() < until_s:
            await arm.infer(tenant, x)
            count += 1

    began = time.perf_counter()
    await asyncio.gather(*(client(tenant) for tenant in range(len(inputs.one)) for _ in range(in_flight)))
    return count / (time.perf_counter() - began)


def closed_loop_many(arm: Arm, inputs: Inputs, *, seconds: float) -> float:
    """The same through ``infer_many``, one row of every tenant in a call."""
    requests = list(enumerate(inputs.one))

    async def saturate() -> float:
        count, began = 0, time.perf_counter()
        while time.perf_counter() < began + seconds:
            await arm.infer_many(requests)
            count += len(requests)
        return count / (time.perf_counter() - began)

    with undisturbed():
        return asyncio.run(saturate())


def check(arm: Arm, inputs: Inputs) -> float:
    """The largest difference of an arm's answers from the models' own, all tenants at once. ArithmeticError if it is too large."""

    async def ask() -> list[Tensor]:
        return await arm.infer_many(list(enumerate(inputs.one)))

    differences = []
    for tenant, (made, right) in enumerate(zip(asyncio.run(ask()), inputs.right, strict=True)):
        if isinstance(made, Exception):
            raise made
        if not torch.allclose(made, right, rtol=_RTOL, atol=_ATOL):
            raise ArithmeticError(f"tenant {tenant} got another answer than its model gives")
        differences.append((made - right).abs().max().item())
    return max(differences)

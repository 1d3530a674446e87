"""What others do with many models on one device, in virtual time, to measure the window against. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from typing import final

from paceline.clock import MICROSECONDS, to_microseconds, to_seconds
from paceline.multiplex.load import row_bucket
from paceline.multiplex.request import BundleResult, Plan, Request
from paceline.multiplex.simulate import Call, Served, Times
from paceline.multiplex.tenant import TenantSpec
from paceline.multiplex.trace import LaunchRecord, RequestRecord, Timeline
from paceline.scheduling import Wait
from paceline.sim import Arrival


@final
class OneByOne:
    """First come, first served, each request alone: time multiplexing. Nothing is ever turned away."""

    def __init__(self, specs: Iterable[TenantSpec]) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._waiting: deque[Request] = deque()

    def submit(self, item: Request, now: int) -> None:
        item.num_rows = item.rows
        self._waiting.append(item)

    def schedule(self, now: int) -> Plan | Wait:
        if not self._waiting:
            return Wait(None)
        return _plan(self._specs, [self._waiting.popleft()], now)

    def commit(self, plan: Plan, result: BundleResult, now: int) -> None:
        if not _finished(plan, self._specs, now):
            self._waiting.extendleft(plan.members)

    def expired(self, now: int) -> list[Request]:
        return []


@final
class PerTenant:
    """Dynamic batching as servers do it: the tenant whose request has waited longest, with all that waits of it."""

    def __init__(self, specs: Iterable[TenantSpec]) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._waiting: dict[str, deque[Request]] = {name: deque() for name in self._specs}
        self._order: list[tuple[int, str]] = []  # by the arrival of the first request
        self._under_way: list[Request] = []  # between two segments

    def submit(self, item: Request, now: int) -> None:
        item.num_rows = item.rows
        queue = self._waiting[item.tenant]
        queue.append(item)
        if len(queue) == 1:
            heappush(self._order, (now, item.tenant))

    def schedule(self, now: int) -> Plan | Wait:
        if self._under_way:
            members, self._under_way = self._under_way, []
            return _plan(self._specs, members, now)
        if not self._order:
            return Wait(None)
        tenant = heappop(self._order)[1]
        queue, room = self._waiting[tenant], self._specs[tenant].max_rows
        members = [queue.popleft()]
        room -= members[0].rows
        while queue and queue[0].rows <= room:
            room -= queue[0].rows
            members.append(queue.popleft())
        if queue:
            first = queue[0].arrival
            assert first is not None
            heappush(self._order, (first, tenant))
        return _plan(self._specs, members, now)

    def commit(self, plan: Plan, result: BundleResult, now: int) -> None:
        if not _finished(plan, self._specs, now):
            self._under_way = list(plan.members)

    def expired(self, now: int) -> list[Request]:
        return []


def _plan(specs: Mapping[str, TenantSpec], members: list[Request], now: int) -> Plan:
    for request in members:
        request.started = now if request.started is None else request.started
    rows = row_bucket(sum(request.rows for request in members))
    key = specs[members[0].tenant].segments[members[0].segment]
    return Plan(key, tuple(members), 1, rows, 0.0, "only", now)


def _finished(plan: Plan, specs: Mapping[str, TenantSpec], now: int) -> bool:
    """Moves all members one segment on; whether that was the last."""
    for request in plan.members:
        request.segment += 1
    if plan.members[0].segment < len(specs[plan.members[0].tenant].segments):
        return False
    for request in plan.members:
        request.outcome, request.finished = "done", now
    return True


def threads(
    specs: Sequence[TenantSpec], arrivals: Sequence[Arrival[Call]], times: Times, *, num_cores: int = 1
) -> Served:
    """A thread per request, all at once: cores are shared evenly, and nothing is lost by it, which flatters threads.

    All that run advance equally fast, so each ends when their common progress has grown by what it takes alone.
    """
    by_name = {spec.name: spec for spec in specs}
    timeline = Timeline(len(arrivals))
    running: list[tuple[float, int]] = []  # progress at the end, number
    now = progress = 0.0

    def advance(until: float) -> None:
        nonlocal now, progress
        while running:
            slowness = max(1.0, len(running) / num_cores)
            end = now + (running[0][0] - progress) * slowness
            if end > until:
                progress += (until - now) / slowness
                break
            now, progress = end, running[0][0]
            _thread_ended(timeline, by_name, arrivals, heappop(running)[1], round(now))
        now = until

    for number, (at, call) in enumerate(arrivals):
        advance(at)
        work_s = sum(times[key].seconds(1, row_bucket(call.rows)) for key in by_name[call.tenant].segments)
        heappush(running, (progress + work_s * MICROSECONDS, number))
    advance(math.inf)
    return Served(timeline, to_seconds(max(1, arrivals[-1].at - arrivals[0].at)), math.nan)


def _thread_ended(
    timeline: Timeline, specs: Mapping[str, TenantSpec], arrivals: Sequence[Arrival[Call]], number: int, now: int
) -> None:
    at, call = arrivals[number]
    spec = specs[call.tenant]
    timeline.launches.append(LaunchRecord(at, now, number, spec.family, spec.segments[0], 1, call.rows, (str(number),)))
    deadline = at + to_microseconds(spec.slo_s)
    timeline.requests.append(RequestRecord(str(number), call.tenant, at, deadline, at, now, "done"))

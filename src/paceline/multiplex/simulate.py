"""The window in virtual time: what rate so many tenants hold under an SLO, with coalescing and without. Pure.

``serve`` drives any scheduler of requests: the window itself, or what others use (``peers``).
Launch times are given, arrivals are drawn from a seed, so equal questions have equal answers on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import merge
from itertools import repeat
from typing import Literal, NamedTuple, Protocol, TypeAlias, final

from paceline.clock import to_microseconds, to_seconds
from paceline.errors import RejectedError
from paceline.metrics import percentile
from paceline.multiplex.load import Costs
from paceline.multiplex.request import BundleResult, Plan, Request
from paceline.multiplex.tenant import TenantSpec
from paceline.multiplex.trace import RequestRecord, Timeline
from paceline.multiplex.window import Window
from paceline.scheduling import Scheduler, Wait
from paceline.sim import Arrival, bursts, replay

Mix: TypeAlias = Literal["poisson", "bursts", "zipf"]


@dataclass(frozen=True, slots=True)
class LaunchTime:
    """Seconds of a launch of one segment: a constant, and parts for each slot and each of its rows, padding included.

    >>> LaunchTime(100e-6, 5e-6, 1e-6).seconds(num_slots=16, rows_each=1)
    0.000196
    """

    fixed_s: float
    per_slot_s: float = 0.0
    per_row_s: float = 0.0

    def seconds(self, num_slots: int, rows_each: int) -> float:
        return self.fixed_s + num_slots * (self.per_slot_s + rows_each * self.per_row_s)


Times: TypeAlias = Mapping[str, LaunchTime]
"""By the key of the segment."""


class Call(NamedTuple):
    """What a tenant sends."""

    tenant: str
    rows: int = 1


def calls(
    specs: Sequence[TenantSpec], rate_per_s: float, num: int, *, mix: Mix = "poisson", seed: int = 0
) -> list[Arrival[Call]]:
    """The first ``num`` arrivals of all tenants together, ``rate_per_s`` in a mean second.

    ``poisson``: all send equally much, at random; ``bursts``: each sends in bursts (gaps of a Gamma distribution, four times as
    spread as Poisson's); ``zipf``: at random, the k-th tenant 1/k as much as the first.
    """
    parts = [1.0 / (place + 1) if mix == "zipf" else 1.0 for place in range(len(specs))]
    streams = [
        bursts(
            rate_per_s * part / sum(parts),
            4.0 if mix == "bursts" else 1.0,
            repeat(Call(spec.name)),
            seed=seed * 7919 + place,
        )
        for place, (spec, part) in enumerate(zip(specs, parts, strict=True))
    ]
    merged = merge(*streams, key=lambda arrival: arrival.at)
    return [arrival for _, arrival in zip(range(num), merged, strict=False)]


# ── one run ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Served:
    """What became of the calls. ``seconds``: from the first arrival to the last."""

    timeline: Timeline = field(repr=False)
    seconds: float
    busy: float  # share of the time

    @property
    def num_in_time(self) -> int:
        return sum([record.in_time for record in self.timeline.requests])

    @property
    def attainment(self) -> float:
        """Share of all calls that were answered in time, 0..1."""
        return self.num_in_time / len(self.timeline.requests)

    @property
    def goodput(self) -> float:
        """Calls answered in time, per second."""
        return self.num_in_time / self.seconds

    def latency_s(self, q: float) -> float:
        """The ``q``-th percentile over the calls that were answered."""
        done = [record for record in self.timeline.requests if record.outcome == "done"]
        return percentile([to_seconds(record.finished - record.arrival) for record in done], q)

    def of(self, tenant: str) -> list[RequestRecord]:
        return [record for record in self.timeline.requests if record.tenant == tenant]


class Arm(Scheduler[Request, Plan, BundleResult], Protocol):
    """A scheduler that may drop requests."""

    def expired(self, now: int) -> list[Request]:
        """Those it dropped since the last call."""
        ...


def serve(arm: Arm, specs: Sequence[TenantSpec], arrivals: Sequence[Arrival[Call]], times: Times) -> Served:
    """Runs all arrivals to their ends on one device."""
    recorder = _Recorder(arm, specs, 2 * len(arrivals) * max(len(spec.segments) for spec in specs))

    def execute(plan: Plan) -> tuple[float, BundleResult]:
        seconds = times[plan.segment_key].seconds(plan.num_slots, plan.rows_each)
        return seconds, BundleResult(seconds)

    done = replay(recorder, arrivals, execute)
    assert len(recorder.timeline.requests) == len(arrivals), "a request was lost, or answered twice"
    return Served(recorder.timeline, to_seconds(max(1, arrivals[-1].at - arrivals[0].at)), done.utilisation)


@final
class _Recorder:
    """Makes requests of calls, and notes what becomes of them."""

    def __init__(self, arm: Arm, specs: Iterable[TenantSpec], capacity: int) -> None:
        self.timeline = Timeline(capacity)
        self._arm = arm
        self._specs = {spec.name: spec for spec in specs}
        self._num_calls = 0

    def submit(self, item: Call, now: int) -> None:
        deadline = now + to_microseconds(self._specs[item.tenant].slo_s)
        request = Request(item.tenant, item.rows, now, deadline, id=str(self._num_calls))
        self._num_calls += 1
        try:
            self._arm.submit(request, now)
        except RejectedError as error:
            request.reason = type(error).__name__
            self.timeline.ended(request, now)

    def schedule(self, now: int) -> Plan | Wait:
        plan = self._arm.schedule(now)
        for request in self._arm.expired(now):
            self.timeline.ended(request, now)
        return plan

    def commit(self, plan: Plan, result: BundleResult, now: int) -> None:
        self.timeline.launched(plan, self._specs[plan.members[0].tenant].family, now)
        self._arm.commit(plan, result, now)
        for request in plan.members:
            if request.outcome is not None:
                self.timeline.ended(request, now)


def window(specs: Iterable[TenantSpec], times: Times, *, max_group: int = 64) -> Window:
    """The real scheduler, its costs warmed up as a runtime does it."""
    costs = Costs()
    for key, time in times.items():
        for num_slots in (1, 2, 4, 8, 16, 1):
            for rows_each in (1, 4):
                costs[key].observe(num_slots, rows_each, time.seconds(num_slots, rows_each))
    made = Window(costs, max_group=max_group)
    for spec in specs:
        made.register(spec)
    return made


def alone(specs: Iterable[TenantSpec], times: Times) -> Window:
    """The real scheduler without coalescing: deadlines, admission and fairness are the same."""
    return window([replace(spec, stackable=False) for spec in specs], times)


# ── what rate is held ───────────────────────────────────────────────────────────────────────────


def held_rate(
    make: Callable[[], Arm],
    specs: Sequence[TenantSpec],
    times: Times,
    *,
    mix: Mix = "poisson",
    attainment: float = 0.99,
    num: int = 2000,
    precision: float = 0.02,
    seed: int = 0,
) -> float:
    """The most calls per second of which ``attainment`` are answered in time, within ``precision``; 0 if no rate will do."""

    def holds(rate_per_s: float) -> bool:
        arrivals = calls(specs, rate_per_s, num, mix=mix, seed=seed)
        return serve(make(), specs, arrivals, times).attainment >= attainment

    low, high = 0.0, 1.0 / max(sum(times[key].seconds(1, 1) for key in spec.segments) for spec in specs)
    while holds(high):
        low, high = high, 2.0 * high
    while high - low > precision * high and high > 1e-3:
        middle = (low + high) / 2.0
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low

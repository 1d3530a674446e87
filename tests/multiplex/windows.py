"""Windows of known costs, and a driver for them, for the tests of the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from paceline.multiplex.load import Costs
from paceline.multiplex.request import BundleResult, Plan, Request
from paceline.multiplex.simulate import LaunchTime
from paceline.multiplex.tenant import TenantSpec
from paceline.multiplex.window import Window
from paceline.scheduling import Wait

TIME = LaunchTime(200e-6, 10e-6, 2e-6)
"""A group of 16 takes 392 µs, one request 212."""


def spec(name: str, key: str = "f", **fields: Any) -> TenantSpec:
    return TenantSpec(**{"name": name, "family": key, "segments": (key,), "slo_s": 0.01, **fields})


def warm(costs: Costs, keys: Iterable[str], time: LaunchTime = TIME) -> None:
    """The costs as they are on a quiet machine after warming up."""
    for key in keys:
        for num_slots in (1, 2, 4, 8, 16, 1, 2, 4, 8, 16):
            for rows_each in (1, 4, 16):
                costs[key].observe(num_slots, rows_each, time.seconds(num_slots, rows_each))


def window(*specs: TenantSpec, time: LaunchTime = TIME, **options: Any) -> Window:
    made = Window(Costs(), **options)
    for each in specs:
        made.register(each)
    warm(made.costs, {key for each in specs for key in each.segments}, time)
    return made


def many(num: int, key: str = "f", **fields: Any) -> list[TenantSpec]:
    return [spec(f"{key}{place}", key, **fields) for place in range(num)]


def submit(window: Window, name: str, rows: int = 1, now: int = 0, **fields: Any) -> Request:
    request = Request(name, rows, **fields)
    window.submit(request, now)
    return request


def plan(window: Window, now: int = 0) -> Plan:
    decision = window.schedule(now)
    assert not isinstance(decision, Wait), decision
    return decision


def run(
    window: Window, now: int = 0, fails: Callable[[Request], bool] = lambda request: False, time: LaunchTime = TIME
) -> tuple[list[Plan], int]:
    """Launches until there is nothing left; the plans, and the time then."""
    plans = []
    while True:
        decision = window.schedule(now)
        if isinstance(decision, Wait):
            if decision.until is None:
                return plans, now
            now = decision.until
            continue
        seconds = time.seconds(decision.num_slots, decision.rows_each)
        failed = frozenset(place for place, request in enumerate(decision.members) if fails(request))
        now += round(seconds * 1e6)
        window.commit(decision, BundleResult(seconds, failed), now)
        window.check()
        plans.append(decision)

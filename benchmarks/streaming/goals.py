"""What streaming perception is meant to reach, beside what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.engine.goals import Goal

_POINTS = 100.0
RELATIVE, AIMED, CLOSED, OVER, OPPORTUNITY = 0.05, 0.074, 0.4, 4.0, 0.1
WORST, DECISION_US = -2.0, 2000.0


def goals(result: dict[str, Any]) -> list[Goal]:
    """Every goal with what was measured."""
    return [*_tier_b(result["policies"]), *_tier_b2(result["policies"]), *_safety(result)]


def rows_of(policies: list[dict[str, Any]], policy: str, **where: Any) -> list[dict[str, Any]]:
    """Rows of one policy, one for each seed."""
    return [
        row for row in policies if row["policy"] == policy and all(row[key] == value for key, value in where.items())
    ]


def _tier_b(policies: list[dict[str, Any]]) -> Iterator[Goal]:
    plain = {"tier": "B", "forecast": False}
    best = rows_of(policies, "oracle", closed_loop=False, **plain)
    gap = _mean([row["relative_gain"] for row in best])
    yield _at_least("no forecast: window oracle over the best static, relative", gap, OPPORTUNITY)
    for closed_loop in (False, True):
        rows = rows_of(policies, "paceline", closed_loop=closed_loop, **plain)
        how = "closed loop" if closed_loop else "spliced"
        gain = _mean([row["relative_gain"] for row in rows])
        yield _at_least(f"no forecast, {how}: paceline over the best static, relative", gain, RELATIVE, aim=AIMED)
        closed = _mean([row["oracle_gap_closed"] for row in rows])
        yield _at_least(f"no forecast, {how}: share of the oracle's gap closed", closed, CLOSED)
        low = min((row["oracle_gap_closed_low"] for row in rows), default=None)
        yield _at_least(f"no forecast, {how}: lower end of its interval, lowest seed", low, 0.0)


def _tier_b2(policies: list[dict[str, Any]]) -> Iterator[Goal]:
    found = {
        (policy, forecast): {
            row["seed"]: row["s_mota"] for row in rows_of(policies, policy, tier="B2", forecast=forecast)
        }
        for policy in ("static", "paceline")
        for forecast in (False, True)
    }
    seeds = sorted(found["static", True])
    over = [_POINTS * (found["static", True][seed] - found["static", False][seed]) for seed in seeds]
    yield _at_least("forecast alone over static without it, points, lowest seed", min(over, default=None), OVER)
    joint = [
        _POINTS * (found["paceline", True][seed] - max(found["static", True][seed], found["paceline", False][seed]))
        for seed in seeds
    ]
    yield _at_least("forecast and adaptive over the best single, points, lowest seed", min(joint, default=None), 0.0)
    relative = _mean([found["paceline", True][seed] / found["static", False][seed] - 1 for seed in seeds])
    yield _at_least("forecast and adaptive over static without forecast, relative", relative, AIMED)


def _safety(result: dict[str, Any]) -> Iterator[Goal]:
    rows = [row for row in rows_of(result["policies"], "paceline", tier="B") if row["closed_loop"]]
    worst = min((_POINTS * row["worst5"] for row in rows), default=None)
    yield _at_least("worst 5 % of logs against static, points, lowest seed, closed loop", worst, WORST)
    yield _at_most("outputs older than the cap", result["age_violations"], 0.0)
    yield _at_most("a decision, 99th percentile, µs", result["decision_us_p99"], DECISION_US)


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _at_least(name: str, value: float | None, floor: float, *, aim: float | None = None) -> Goal:
    return Goal(name=name, value=value, floor=floor, aim=floor if aim is None else aim, at_most=False)


def _at_most(name: str, value: float | None, bound: float) -> Goal:
    return Goal(name=name, value=value, floor=bound, aim=bound)

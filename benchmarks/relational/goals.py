"""What the SQL part is meant to reach, beside what was measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.engine.goals import Goal
from benchmarks.relational.end_to_end import speedups
from benchmarks.relational.protocol import BASELINE, FILTERED, OURS

ROOMY = ("beer", "contributions", "fever")  # where the published planner leaves much
MILLION = 1_000_000


def goals(result: dict[str, Any]) -> list[Goal]:
    """Every goal with what was measured."""
    return [*_plans(result["plans"]), *_end_to_end(result["end_to_end"]), *_answers(result)]


def _plans(rows: list[dict[str, Any]]) -> Iterator[Goal]:
    by = {(row["table"], row["rows"], row["planner"]): row for row in rows}
    pairs = [(by[key], by[(*key[:2], OURS)]) for key in by if key[2] == "ggr" and (*key[:2], OURS) in by]
    gains = {theirs["table"]: ours["hit"] - theirs["hit"] for theirs, ours in pairs}
    speeds = [theirs["seconds"] / ours["seconds"] for theirs, ours in pairs]
    yield _at_least("hit share over GGR's, worst table", _least(gains.values()), -0.001, aim=0.0)
    for table in ROOMY:
        yield _at_least(f"hit share over GGR's, {table}", gains.get(table), 0.03)
    yield _at_least("planning time of GGR over ours, worst table", _least(speeds), 20)
    mean = math.exp(sum(map(math.log, speeds)) / len(speeds)) if speeds else None
    yield _at_least("planning time of GGR over ours, geometric mean", mean, 50)
    lean = [theirs["lean_seconds"] / ours["seconds"] for theirs, ours in pairs]
    yield _at_least("planning time of our own lean GGR over ours, worst table", _least(lean), 1)
    million = by.get(("scale", MILLION, OURS))
    yield _at_most("planning a million rows of 20 columns, s", million and million["seconds"], 10, aim=5)
    yield _at_most("growth of memory meanwhile, MB", million and million["rss_mb"], 1000)


def _end_to_end(rows: list[dict[str, Any]]) -> Iterator[Goal]:
    faster = speedups(rows, BASELINE, OURS)
    for table in FILTERED:
        name = f"filter on {table}, embedded engine: time as the rows come over ours"
        yield _at_least(name, faster.get((table, "filter", "embedded")), 3.0, aim=4.4)


def _answers(result: dict[str, Any]) -> Iterator[Goal]:
    outcomes: dict[tuple[str, str], set[str]] = {}
    for row in result["end_to_end"]:
        if row["backend"] == "mock" and row["query"] != "rag":  # rag: fields lose their names
            outcomes.setdefault((row["table"], row["query"]), set()).add(row["outcome"])
    equal = sum(len(found) == 1 for found in outcomes.values()) / len(outcomes) if outcomes else None
    yield _at_least("queries on the mock whose outcome is the same for all arms, share", equal, 1.0)
    judged = result["judged"]
    total = sum(row["rows"] for row in judged)
    change = sum(row["rows"] * (row["auto"] - row["as_written"]) for row in judged) / total if judged else None
    yield _at_least("accuracy of the packaged model, planned minus as written, share", change, -0.01)


def _least(values: Iterable[float]) -> float | None:
    return min(values, default=None)


def _at_least(name: str, value: float | None, floor: float, *, aim: float | None = None) -> Goal:
    return Goal(name=name, value=value, floor=floor, aim=floor if aim is None else aim, at_most=False)


def _at_most(name: str, value: float | None, bound: float, *, aim: float | None = None) -> Goal:
    return Goal(name=name, value=value, floor=bound, aim=bound if aim is None else aim)

"""What serving many models on one device is meant to reach, beside what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.engine.goals import Goal
from benchmarks.multiplex.coalescing import BASE
from benchmarks.multiplex.protocol import GOAL_CELLS, GOAL_MIX, GOAL_SLO, LOOP, OURS, SHARED

_LOOP_FLOORS = {"mlp": 8.0, "lstm": 4.0, "encoder": 3.0, "resnet": 1.8}
_SERVED_FLOORS = {"lstm": 3.0, "encoder": 3.0}  # a request alone takes 100 µs and more, and there is something to gain
_MATVEC = "512x1x512"


def goals(result: dict[str, Any]) -> list[Goal]:
    """Every goal with what was measured."""
    return [*_offline(result), *_served(result["saturation"]), *_overloaded(result["overload"]), *_costs(result)]


def _offline(result: dict[str, Any]) -> Iterator[Goal]:
    coalesced = {
        (row["net"], row["width"], row["R"], row["weights"], row["arm"]): row["seconds"] for row in result["coalesce"]
    }
    for cell in GOAL_CELLS:
        for arm, floor in ((LOOP, _LOOP_FLOORS[cell.net]), *([("vmap", 4.0)] if cell.net == "mlp" else [])):
            value = _ratio(coalesced.get((*cell, arm)), coalesced.get((*cell, OURS)))
            yield _at_least(
                f"{cell.net} {cell.width} × {cell.num}, different weights: time of {arm} over ours", value, floor
            )
    micro = {(row["shape"], row["R"], row["arm"]): row["seconds"] for row in result["micro"]}
    shared = [micro.get((_MATVEC + SHARED, 16, arm)) for arm in (LOOP, OURS)]
    yield _at_least("mat-vec 512 × 16, shared weights: time of loop over ours", _ratio(*shared), 5.0)
    adapters = (result["adapters"] or {"seconds": {}})["seconds"]
    value = _ratio(adapters.get(LOOP), adapters.get(OURS))
    yield _at_least("8 adapters over one ResNet: time of eight batches over ours", value, 1.8)
    yield _at_most(
        "8 adapters over one ResNet: our time over one base batch", _ratio(adapters.get(OURS), adapters.get(BASE)), 1.15
    )
    large = (result["resnet50"] or {"seconds": {}})["seconds"]
    yield _at_least(
        "ResNet-50 at 224, different weights: time of loop over ours", _ratio(large.get(LOOP), large.get(OURS)), 0.95
    )


def _served(rows: list[dict[str, Any]]) -> Iterator[Goal]:
    over = {(row["net"], row["how"]): row.get("over_best_peer") for row in rows if row["arm"] == OURS}
    yield _at_least("infer at saturation, mlp 64 × 16, over the best peer", over.get(("mlp", "infer")), 2.0)
    yield _at_least(
        "infer_many at saturation, mlp 64 × 16, over the best peer", over.get(("mlp", "infer_many")), 2.0, aim=3.0
    )
    for net, floor in _SERVED_FLOORS.items():
        yield _at_least(f"infer at saturation, {net} 64 × 16, over the best peer", over.get((net, "infer")), floor)


def _overloaded(rows: list[dict[str, Any]]) -> Iterator[Goal]:
    chosen = {row["arm"]: row for row in rows if (row["mix"], row["slo_x"]) == (GOAL_MIX, GOAL_SLO)}
    ours = chosen.pop(OURS, None)
    yield _at_least("goodput at 1.5 × capacity, share of its own peak", ours and ours["share_of_peak"], 0.9)
    best = max((row["goodput"] for row in chosen.values()), default=None)
    value = None if ours is None or best is None else ours["goodput"] / max(best, 1.0)
    yield _at_least("goodput at 1.5 × capacity, over the best peer", value, 1.5)


def _costs(result: dict[str, Any]) -> Iterator[Goal]:
    memory, overhead, exact = result["memory"], result["overhead"], result["exact"]
    yield _at_most(
        "500 adapters over one base: memory over 1.2 × the base + 1 MiB each", memory and memory["over_bound"], 1.0
    )
    yield _at_most("own overhead, µs a request", result["overhead_us_per_request"], 10.0)
    yield _at_most("own overhead, µs a launch", overhead and overhead["us_per_launch"], 20.0)
    compared = sum(row["num_compared"] for row in exact)
    value = sum(row["num_equal"] for row in exact) / compared if compared else None
    yield _at_least("exact: answers with the same bits as alone, share", value, 1.0)
    yield _at_least("answers checked in all runs that were right, share", _right(result), 1.0)


def _right(result: dict[str, Any]) -> float | None:
    """1 unless an arm's outputs were too far from the models' own anywhere; nets give numbers of about 1."""
    differences = [row["max_diff"] for row in result["coalesce"]]
    for name in ("adapters", "resnet50"):
        differences += (result[name] or {"max_diff": {}})["max_diff"].values()
    wrong = (result["serving"] or {"num_wrong": 0})["num_wrong"]
    return None if not differences else float(wrong == 0 and _largest(differences) <= 1e-3)


def _largest(values: Iterable[float]) -> float:
    return max(values)


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below is not None else None


def _at_least(name: str, value: float | None, floor: float, *, aim: float | None = None) -> Goal:
    return Goal(name=name, value=value, floor=floor, aim=floor if aim is None else aim, at_most=False)


def _at_most(name: str, value: float | None, bound: float) -> Goal:
    return Goal(name=name, value=value, floor=bound, aim=bound)

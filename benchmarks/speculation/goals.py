"""What speculation is meant to reach, beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.engine.goals import Goal
from benchmarks.speculation.protocol import BASELINES, FIXED, OURS

SIMULATED_FLOORS = {1: 2.00, 8: 1.87, 32: 1.72, 64: 1.50, 128: 1.33, 256: 1.23}
MODEL, DEVICE, MIX = "llama-3.1-8b", "H100", "mixed"
CODE_EDITING = "instructcoder"
SETTLING_STEPS = 64


def goals(result: dict[str, Any]) -> list[Goal]:
    """Every goal with what was measured."""
    return [*_live(result["summary"]), *_simulated(result["simulated"]), *_controller(result)]


def _live(summary: dict[str, Any]) -> Iterator[Goal]:
    def of(key: str) -> float | None:
        return summary[key][OURS] if summary else None

    count = summary.get("num_cells")
    for name, key in (("plain", "vs_plain"), ("the best fixed length", "vs_best_fixed")):
        share = None if count is None else summary[f"num_cells_{key}_reached"][OURS] / count
        bound = {"vs_plain": 0.98, "vs_best_fixed": 0.97}[key]
        yield _at_least(f"share of cells whose interval reaches {bound} of {name}", share, 1.0)
    yield _at_least("geometric mean over cells vs plain", of("geometric_mean_vs_plain"), 1.2)
    yield _at_least(
        "geometric mean over cells vs the best fixed length of each", of("geometric_mean_vs_best_fixed"), 1.0
    )
    for other in (*FIXED, *BASELINES):
        means = summary.get("geometric_mean_vs_plain")
        yield _at_least(f"mean vs plain over that of {other}", means and means[OURS] / means[other], 1.0)
    low, best = summary.get("best_cell_at_low_load"), summary.get("best_cell")
    yield _at_least("best cell at load <= 0.5 vs plain", low and low["vs_plain"], 2.0)
    yield _at_least("best cell vs plain", best and best["vs_plain"], 2.5, aim=3.2)


def _simulated(rows: list[dict[str, Any]]) -> Iterator[Goal]:
    speedups = {
        (row["workload"], row["batch"]): row["speedup"]
        for row in rows
        if (row["model"], row["device"], row["policy"]) == (MODEL, DEVICE, OURS)
    }
    for batch, floor in SIMULATED_FLOORS.items():
        yield _at_least(f"simulated {DEVICE}, {MODEL}, {MIX}, batch {batch}", speedups.get((MIX, batch)), floor)
    yield _at_least(f"simulated {DEVICE}, {MODEL}, code editing, batch 1", speedups.get((CODE_EDITING, 1)), 3.0)


def _controller(result: dict[str, Any]) -> Iterator[Goal]:
    settled = (result["load_step"] or {}).get("steps_to_settle", {})
    for way in ("up", "down"):
        yield _at_most(f"steps to settle after a load step {way}", settled.get(way), SETTLING_STEPS)
    overhead = result["overhead"]
    yield _at_most("controller, us a step at 32 sequences without proposals", result["overhead_us_per_step"], 60.0)
    share = overhead and overhead["with_proposals"]["share"]
    yield _at_most("controller, share of a step with proposals", share, 0.02)
    yield _at_most("mean error of predicted step times", result["prediction_mape"], 0.10)
    for row in result["calm"]:
        name = f"nothing to predict ({row['text']}, batch {row['batch']}): upper bound vs plain"
        yield _at_least(name, row["vs_plain_high"], 0.98)


def _at_least(name: str, value: float | None, floor: float, *, aim: float | None = None) -> Goal:
    return Goal(name=name, value=value, floor=floor, aim=floor if aim is None else aim, at_most=False)


def _at_most(name: str, value: float | None, bound: float) -> Goal:
    return Goal(name=name, value=value, floor=bound, aim=bound)

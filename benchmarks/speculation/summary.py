"""Cells to figures: rows per run, paired ratios with intervals, means over cells."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.cells import Cells
from benchmarks.common.intervals import percentile
from benchmarks.speculation.protocol import ARMS, BASELINES, FIXED, OURS, PLAIN, RHOS, WORKLOADS

NUM_DRAWS = 1000
PLAIN_FLOOR, FIXED_FLOOR = 0.98, 0.97  # what an interval has to reach
LOW_LOAD = 0.5

Latencies = Mapping[str, NDArray[np.float64]]  # arm -> [S, N], the same seeds and requests for all


class Ratio(NamedTuple):
    """How many times faster, with the bounds of the 95 % interval."""

    value: float
    low: float
    high: float


def live_rows(cells: Cells) -> list[dict[str, Any]]:
    """One row for each run."""
    rows = []
    for name, arms in cells.having("live/").items():
        workload, rho, seed = name.split("/")
        rows += [
            {"workload": workload, "rho": float(rho), "arm": arm, **_row(arms, arm), "seed": int(seed)}
            for arm in ARMS
            if arm in arms
        ]
    return rows


def _row(arms: Mapping[str, Any], arm: str) -> dict[str, Any]:
    run = arms[arm]
    latencies = sorted(latency / 1e6 for latency in run["latencies_us"])
    pairs = zip(run["digests"], arms[PLAIN]["digests"], strict=True)
    return {
        "mean_latency_s": round(statistics.mean(latencies), 6),
        "p99_s": round(percentile(latencies, 0.99), 6),
        "tokens_per_s": round(run["num_tokens"] / run["span_s"], 1),
        "mean_first_token_s": round(statistics.mean(run["first_us"]) / 1e6, 6),
        "num_requests": len(latencies),
        "drafted_per_token": round(run["num_drafted"] / run["num_tokens"], 3),
        "accepted_per_token": round(run["num_accepted"] / run["num_tokens"], 3),
        "equal_outputs": round(statistics.mean(ours == plain for ours, plain in pairs), 3),
    }


# ── cells ────────────────────────────────────────────────────────────────────────────────────────


def ratio_rows(cells: Cells) -> list[dict[str, Any]]:
    """One row for each workload, load and arm but plain."""
    rows = []
    for workload in WORKLOADS:
        for rho in RHOS:
            runs = list(cells.having(f"live/{workload}/{rho}/").values())
            if not runs:
                continue
            latencies = {arm: np.array([run[arm]["latencies_us"] for run in runs], np.float64) for arm in ARMS}
            for arm, ratios in ratios_of_cell(latencies).items():
                named = {
                    f"{key}{bound}": round(value, 4)
                    for key, ratio in ratios.items()
                    for bound, value in zip(("", "_low", "_high"), ratio, strict=True)
                }
                rows.append({"workload": workload, "rho": rho, "arm": arm, **named})
    return rows


def ratios_of_cell(latencies: Latencies) -> dict[str, dict[str, Ratio]]:
    """How many times lower the mean latency of each arm is than that of plain, and of the best fixed length.

    The best fixed length is found afterwards, so noise flatters it. Intervals draw seeds, and requests within them,
    the same for both sides of a ratio (percentile bootstrap).
    """
    drawn = _drawn_means(latencies)
    best = min(FIXED, key=lambda arm: float(latencies[arm].mean()))
    return {
        arm: {
            f"vs_{name}": Ratio(
                float(latencies[other].mean() / latencies[arm].mean()),
                *(float(bound) for bound in np.quantile(drawn[other] / drawn[arm], (0.025, 0.975))),
            )
            for name, other in (("plain", PLAIN), ("best_fixed", best))
        }
        for arm in latencies
        if arm != PLAIN
    }


def _drawn_means(latencies: Latencies) -> dict[str, NDArray[np.float64]]:  # each [D]
    num_seeds, num_requests = latencies[PLAIN].shape
    rng = np.random.default_rng(0)
    seeds = rng.integers(num_seeds, size=(NUM_DRAWS, num_seeds, 1))  # [D, S, 1]
    requests = rng.integers(num_requests, size=(NUM_DRAWS, num_seeds, num_requests))  # [D, S, N]
    return {arm: values[seeds, requests].mean((1, 2)) for arm, values in latencies.items()}


# ── all of them ──────────────────────────────────────────────────────────────────────────────────


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over cells for every arm, and what ours reaches; empty without cells."""
    by_arm = {arm: [row for row in rows if row["arm"] == arm] for arm in ARMS if arm != PLAIN}
    ours = by_arm[OURS]
    if not ours:
        return {}
    vs_plain = {arm: _geometric_mean(found, "vs_plain") for arm, found in by_arm.items()}
    return {
        "num_cells": len(ours),
        "geometric_mean_vs_plain": vs_plain,
        "geometric_mean_vs_best_fixed": {arm: _geometric_mean(found, "vs_best_fixed") for arm, found in by_arm.items()},
        "num_cells_vs_plain_reached": {
            arm: sum(row["vs_plain_high"] >= PLAIN_FLOOR for row in found) for arm, found in by_arm.items()
        },
        "num_cells_vs_best_fixed_reached": {
            arm: sum(row["vs_best_fixed_high"] >= FIXED_FLOOR for row in found) for arm, found in by_arm.items()
        },
        "worst_vs_plain": {arm: min(row["vs_plain"] for row in found) for arm, found in by_arm.items()},
        "best_cell": _best(ours),
        "best_cell_at_low_load": _best([row for row in ours if row["rho"] <= LOW_LOAD]),
        "over_best_other_policy": round(vs_plain[OURS] / max(vs_plain[arm] for arm in (*FIXED, *BASELINES)), 4),
    }


def _geometric_mean(rows: Sequence[Mapping[str, Any]], key: str) -> float:
    return round(statistics.geometric_mean(row[key] for row in rows), 4)


def _best(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    row = max(rows, key=lambda row: row["vs_plain"], default=None)
    if row is None:
        return None
    return {key: row[key] for key in ("workload", "rho", "vs_plain", "vs_plain_low", "vs_plain_high")}


def prediction_mape(cells: Cells) -> float | None:
    """Mean over runs of ours of the mean absolute relative error of predicted step times."""
    errors = [arms[OURS]["prediction_error"] for arms in cells.having("live/").values()]
    known = [error for error in errors if error is not None]
    return round(statistics.mean(known), 4) if known else None

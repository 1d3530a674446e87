"""The result: every key, whatever was measured."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from benchmarks.common.cells import Cells
from benchmarks.engine.goals import as_json
from benchmarks.speculation.calm import calm_rows
from benchmarks.speculation.forced import forced_rows
from benchmarks.speculation.goals import goals
from benchmarks.speculation.protocol import WORKLOADS, Protocol
from benchmarks.speculation.summary import live_rows, prediction_mape, ratio_rows, summarise


def collect(device: dict[str, Any], cells: Cells, protocol: Protocol) -> dict[str, Any]:
    """Plain JSON values; a section without cells is empty or None."""
    rows, overhead, simulated = ratio_rows(cells), cells.get("overhead"), cells.having("simulated/")
    result = {
        "device": device,
        "live": live_rows(cells),
        "forced": forced_rows(cells),
        "simulated": [row for found in simulated.values() for row in found["rows"]],
        "cells": rows,
        "overhead_us_per_step": overhead and round(overhead["without_proposals"]["us_per_step"], 2),
        "prediction_mape": prediction_mape(cells),
        "summary": summarise(rows),
        "saturation": {workload: found for workload in WORKLOADS if (found := cells.get(f"saturation/{workload}"))},
        "load_step": cells.get("load_step"),
        "calm": calm_rows(cells),
        "overhead": overhead,
        "recorded_traces": all(found["recorded_traces"] for found in simulated.values()) if simulated else None,
        "protocol": asdict(protocol),
    }
    return {**result, "goals": as_json(goals(result))}

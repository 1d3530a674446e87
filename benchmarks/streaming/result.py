"""The result: every key, whatever was measured."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from benchmarks.common.cells import Cells
from benchmarks.engine.goals import as_json
from benchmarks.streaming.goals import goals
from benchmarks.streaming.protocol import Protocol
from benchmarks.streaming.tier_b import CELLS

_CROSSED = ("static", "paceline")


def collect(device: dict[str, Any], cells: Cells, protocol: Protocol) -> dict[str, Any]:
    """Plain JSON values; S-MOTA and shares are 0..1."""
    found = cells.having(CELLS)
    rows = [row for cell in found.values() for row in cell["rows"]]
    result = {
        "device": device,
        "commit": device["commit"],
        "policies": [*rows, *_crossed(rows)],
        "statics": {name: cell["statics"] for name, cell in found.items()},
        "fits": {name: cell["fit"] for name, cell in found.items()},
        "decision_us_p99": max((cell["decision_us"]["p99"] for cell in found.values()), default=None),
        "age_violations": sum(cell["age_violations"] for cell in found.values()) if found else None,
        "live": {},
        "parity": {},
        "protocol": asdict(protocol),
    }
    return {**result, "goals": as_json(goals(result))}


def _crossed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tier B2: {static, adaptive} x {without forecast, with}, in the closed loop, against static without forecast of the same seed."""
    closed = [row for row in rows if row["closed_loop"] and row["policy"] in _CROSSED]
    base = {row["seed"]: row["s_mota"] for row in closed if row["policy"] == "static" and not row["forecast"]}
    both = {row["seed"] for row in closed if row["forecast"]} & set(base)
    return [
        {**row, "tier": "B2", "relative_gain": row["s_mota"] / base[row["seed"]] - 1}
        for row in closed
        if row["seed"] in both
    ]

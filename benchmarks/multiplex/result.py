"""The result: every key, whatever was measured."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from benchmarks.common.cells import Cells
from benchmarks.engine.goals import as_json
from benchmarks.multiplex.coalescing import coalesce_rows, gains, single_row
from benchmarks.multiplex.exactness import exact_rows
from benchmarks.multiplex.goals import goals
from benchmarks.multiplex.memory import memory
from benchmarks.multiplex.micro import micro_rows
from benchmarks.multiplex.open_loop import open_loop_rows, overload_rows, serving
from benchmarks.multiplex.overhead import overhead
from benchmarks.multiplex.protocol import Protocol
from benchmarks.multiplex.saturation import saturation_rows


def collect(device: dict[str, Any], cells: Cells, protocol: Protocol) -> dict[str, Any]:
    """Plain JSON values; a section without cells is empty or None."""
    own = overhead(cells)
    result = {
        "device": device,
        "micro": micro_rows(cells),
        "coalesce": coalesce_rows(cells),
        "open_loop": open_loop_rows(cells),
        "overhead_us_per_request": own and own["us_per_request"],
        "gains": gains(cells),
        "missing": missing(cells),
        "adapters": single_row(cells, "adapters"),
        "resnet50": single_row(cells, "large"),
        "saturation": saturation_rows(cells),
        "serving": serving(cells),
        "overload": overload_rows(cells),
        "overhead": own,
        "memory": memory(cells),
        "exact": exact_rows(cells),
        "protocol": asdict(protocol),
    }
    return {**result, "goals": as_json(goals(result))}


def missing(cells: Cells) -> list[dict[str, str]]:
    """Arms that could not take part somewhere, and what they said."""
    return [
        {"cell": section + name, "arm": arm, "reason": reason}
        for section in ("micro/", "coalesce/")
        for name, cell in cells.having(section).items()
        for arm, reason in cell["missing"].items()
    ]

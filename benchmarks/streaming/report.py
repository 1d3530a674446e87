"""The result for people: tables on the terminal, and the same in this folder's README."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.common.tables import Table, markdown, number, show, write_between_marks

HERE = Path(__file__).parent
PLAIN_WIDTH = 160  # of a log


def present(result: dict[str, Any], *, readme: bool) -> None:
    """Prints the tables; ``readme`` puts them into this folder's README."""
    show(tables(result), Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH))
    if readme:
        device = result["device"]
        about = f"Measured on {device['cpu']}, {device['num_cores']} cores, commit {result['commit']}, form `{result['protocol']['name']}`."
        write_between_marks(HERE / "README.md", [about, *(markdown(table) for table in tables(result) if table.rows)])


def tables(result: dict[str, Any]) -> Iterable[Table]:
    """Every table of the result; those of sections that were not measured have no rows."""
    yield Table("Goals", ["figure", "measured", "floor", "aim", ""], list(_goals(result)))
    header = [
        "forecast, loop, policy",
        "S-MOTA, %",
        "over static, relative %",
        "gap closed, %",
        "worst 5 %, points",
        "changes a log",
    ]
    yield Table("Policies on parametric detectors, means over seeds", header, list(_policies(result["policies"])))
    yield Table(
        "Forecast and adaptive, closed loop: S-MOTA, %",
        ["seed", "neither", "adaptive", "forecast", "both"],
        list(_crossed(result["policies"])),
    )
    names = sorted({name for cell in result["statics"].values() for name in cell})
    yield Table(
        "Every configuration alone: S-MOTA, %, mean over seeds",
        ["configuration", "no forecast", "forecast"],
        [[name, *(_alone(result["statics"], name, prefix) for prefix in ("plain", "forecast"))] for name in names],
    )


def _goals(result: dict[str, Any]) -> Iterator[list[str]]:
    for goal in result["goals"]:
        yield [goal["name"], number(goal["value"]), number(goal["floor"]), number(goal["aim"]), goal["verdict"]]


def _policies(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    grouped: dict[tuple[bool, bool, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row["tier"] == "B":
            grouped.setdefault((row["forecast"], row["closed_loop"], row["policy"]), []).append(row)
    for (forecast, closed_loop, policy), each in sorted(grouped.items(), key=lambda item: item[0][:2]):
        name = f"{'forecast' if forecast else 'no forecast'}, {'closed' if closed_loop else 'spliced'}, {policy}"
        shares = [_percent(statistics.fmean(row[key] for row in each)) for key in _SHARES]
        yield [name, *shares, f"{statistics.fmean(row['num_switches'] for row in each):.1f}"]


_SHARES = ("s_mota", "relative_gain", "oracle_gap_closed", "worst5")


def _crossed(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    found = {(row["seed"], row["policy"], row["forecast"]): row["s_mota"] for row in rows if row["tier"] == "B2"}
    order = (("static", False), ("paceline", False), ("static", True), ("paceline", True))
    for seed in sorted({seed for seed, _, _ in found}):
        yield [str(seed), *(_percent(found[seed, *which]) for which in order)]


def _alone(statics: dict[str, dict[str, float]], name: str, prefix: str) -> str:
    values = [cell[name] for key, cell in statics.items() if key.startswith(prefix)]
    return _percent(statistics.fmean(values)) if values else "–"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"

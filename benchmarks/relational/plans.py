"""The planning section: every planner on every table, each in a fresh process; a finished cell is not measured again.

Of GGR ``seconds`` are those of the published steps, ``lean_seconds`` those of the same recursion on numbered values.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.common.arms import Arm, worker_command
from benchmarks.common.cells import Cells
from benchmarks.relational.tables import NUM_ROWS, read_csv

PLANNERS: Final = ("as_is", "sorted", "v1", "ggr", "paceline")
_ROUNDS: Final = {"paceline": 3}  # of which the median counts


class Case(NamedTuple):
    """A table at one size, and who plans it. ``table`` is the name of a made one, or the path of a CSV file."""

    table: str
    rows: int
    planners: tuple[str, ...] = PLANNERS


_WITHOUT_RECURSION: Final = tuple(planner for planner in PLANNERS if planner != "ggr")  # it would take hours
_MILLION: Final = Case("scale", 1_000_000, _WITHOUT_RECURSION)
FULL: Final = (
    *(Case(name, rows) for name, rows in NUM_ROWS.items() if name != "scale"),
    Case("scale", 10_000),
    _MILLION,
    Case("scale", 5_000_000, ("paceline",)),
)
_QUICK_ROWS: Final = {"beer": 4000, "contributions": 4000, "pdmx": 1000, "scale": 1000}  # where GGR takes minutes
QUICK: Final = (
    *(Case(name, _QUICK_ROWS.get(name, rows)) for name, rows in NUM_ROWS.items()),
    _MILLION._replace(planners=("sorted", "paceline")),
)


def csv_cases(paths: Sequence[Path]) -> tuple[Case, ...]:
    """The tables of CSV files, all planners."""
    return tuple(Case(str(path.resolve()), read_csv(str(path)).num_rows) for path in paths)


def measure_plans(cells: Cells, cases: tuple[Case, ...], log: Path) -> None:
    """Fills the cells ``plans/<table>/<rows>/<planner>``."""
    for case in cases:
        missing = [planner for planner in case.planners if cells.get(_cell(case, planner)) is None]
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "items.npz")
            with _worker(log) as worker:
                prepared = worker.ask("prepare", table=case.table, rows=case.rows, path=path)
            for planner in missing:
                rounds = _ROUNDS.get(planner, 1)
                with _worker(log) as worker:
                    found = worker.ask(
                        "run", table=case.table, rows=case.rows, planner=planner, path=path, rounds=rounds
                    )
                cells.put(_cell(case, planner), {**prepared, **found})


def plan_rows(cells: Cells) -> list[dict[str, Any]]:
    """The section ``plans`` of the result: shares are of all data tokens, ``rss_mb`` is growth while planning."""
    rows = []
    for name, cell in cells.having("plans/").items():
        table, num_rows, planner = name.rsplit("/", 2)
        rows.append(
            {
                "table": Path(table).stem,
                "rows": int(num_rows),
                "columns": cell["columns"],
                "planner": planner,
                "hit": round(cell["hit"], 5),
                "bound": round(max(cell["bound"], cell["hit"]), 5),
                "seconds": round(cell["seconds"], 5),
                "rss_mb": round(cell["rss_mb"], 1),
                **{key: round(cell[key], 5) for key in ("compile_s", "encode_s", "lean_seconds") if key in cell},
            }
        )
    return rows


def _worker(log: Path) -> Arm:
    return Arm("planner", worker_command("", "benchmarks.relational.plan_worker"), env={"PYTHONPATH": "src"}, log=log)


def _cell(case: Case, planner: str) -> str:
    return f"plans/{case.table}/{case.rows}/{planner}"

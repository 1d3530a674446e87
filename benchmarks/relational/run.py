"""Measures LLM calls in SQL: planners on made tables, queries end to end, and whether answers stay right.

python benchmarks/relational/run.py --quick --json result.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / part) for part in (".", "src")]

from benchmarks.common import command, machine  # noqa: E402 - runs as a script from any folder
from benchmarks.common.cells import Cells, write_json  # noqa: E402
from benchmarks.engine.goals import as_json  # noqa: E402
from benchmarks.relational import end_to_end  # noqa: E402
from benchmarks.relational.goals import goals  # noqa: E402
from benchmarks.relational.judged import measure_judged  # noqa: E402
from benchmarks.relational.plans import csv_cases, measure_plans, plan_rows  # noqa: E402
from benchmarks.relational.protocol import FULL, QUICK, Protocol  # noqa: E402
from benchmarks.relational.report import present  # noqa: E402

SECTIONS = ("plans", "embedded", "mock", "judged", "endpoint")


def main() -> None:
    options = _options()
    if options.show:
        present(json.loads(options.show.read_text()), readme=options.readme)
        return
    protocol = QUICK if options.quick else FULL
    options.work_dir.mkdir(parents=True, exist_ok=True)
    path = options.work_dir / f"relational-{protocol.name}.json"
    if not options.resume:
        path.unlink(missing_ok=True)
    cells = Cells(path, {**asdict(protocol), "commit": machine.commit()})
    device = machine.describe(("paceline", "duckdb", "numba", "numpy", "pyarrow", "pyspark", "sqlglot"))
    for name, measure in _sections(cells, protocol, options).items():
        if name in (options.only or SECTIONS):
            command.timed(name, measure)
    result = collect(device, cells, protocol)
    if options.json:
        write_json(options.json, result)
    present(result, readme=options.readme)


def _sections(cells: Cells, protocol: Protocol, options: argparse.Namespace) -> dict[str, Callable[[], None]]:
    log = options.work_dir / "planners.log"
    sections: dict[str, Callable[[], None]] = {
        "plans": lambda: measure_plans(cells, protocol.plans, log),
        "embedded": lambda: end_to_end.measure_embedded(cells, protocol),
        "mock": lambda: end_to_end.measure_mock(cells, protocol),
        "judged": lambda: measure_judged(cells, protocol),
    }
    if options.csv:
        sections["plans"] = lambda: measure_plans(cells, csv_cases(options.csv), log)
    if options.endpoint:
        sections["endpoint"] = lambda: end_to_end.measure_endpoint(cells, protocol, options.endpoint, options.model)
    return sections


def collect(device: dict[str, Any], cells: Cells, protocol: Protocol) -> dict[str, Any]:
    """Plain JSON values; a section without cells is empty."""
    result = {
        "device": device,
        "plans": plan_rows(cells),
        "end_to_end": end_to_end.rows(cells),
        "judged": cells.get("judged") or [],
        "protocol": asdict(protocol),
    }
    return {**result, "goals": as_json(goals(result))}


def _options() -> argparse.Namespace:
    parser = command.parser(__doc__, SECTIONS)
    parser.add_argument(
        "--csv", type=Path, nargs="+", metavar="FILE", help="plan these tables instead of the made ones"
    )
    parser.add_argument("--endpoint", metavar="URL", help="also run the filters on a server with the OpenAI API")
    parser.add_argument("--model", default="paceline-demo", help="the model's name there (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()

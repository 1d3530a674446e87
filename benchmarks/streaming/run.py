"""Measures streaming perception: what adapting and forecasting gain, spliced and in the closed loop.

python benchmarks/streaming/run.py --quick --json result.json
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / part) for part in (".", "src")]

from benchmarks.common import command, machine  # noqa: E402 - runs as a script from any folder
from benchmarks.common.cells import cells_and_folder, write_json  # noqa: E402
from benchmarks.streaming.protocol import FULL, QUICK, Protocol  # noqa: E402
from benchmarks.streaming.report import present  # noqa: E402
from benchmarks.streaming.result import collect  # noqa: E402
from benchmarks.streaming.tier_b import measure_b  # noqa: E402
from benchmarks.streaming.work import Work  # noqa: E402

SECTIONS: dict[str, Callable[[Work], None]] = {"b": measure_b}


def identity(protocol: Protocol) -> dict[str, Any]:
    """What a cell must have been measured under to count."""
    return {**asdict(protocol), "commit": machine.commit()}


def main() -> None:
    given = command.parser(__doc__, SECTIONS, kept="finished cells and sweeps").parse_args()
    if given.show:
        present(json.loads(given.show.read_text()), readme=given.readme)
        return
    protocol = QUICK if given.quick else FULL
    cells, folder = cells_and_folder(
        given.work_dir, f"streaming-{protocol.name}", identity(protocol), beside="sweeps", resume=given.resume
    )
    work = Work(cells, protocol, folder)
    device = machine.describe(("paceline", "numpy", "scipy", "scikit-learn"))
    for name in given.only or SECTIONS:
        command.timed(name, functools.partial(SECTIONS[name], work))
    result = collect(device, cells, protocol)
    if given.json:
        write_json(given.json, result)
    present(result, readme=given.readme)


if __name__ == "__main__":
    main()

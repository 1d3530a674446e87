"""Measures adapting a frozen network: accuracy of every method, which channels matter, cutting, serving, sizes and speed.

python benchmarks/transfer/run.py --quick --json result.json
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

import msgspec  # noqa: E402

from benchmarks.common import command, machine  # noqa: E402 - runs as a script from any folder
from benchmarks.common.cells import cells_and_folder, write_json  # noqa: E402
from benchmarks.transfer.accuracy import base, measure_accuracy, options  # noqa: E402
from benchmarks.transfer.irrelevant import measure_irrelevant  # noqa: E402
from benchmarks.transfer.masking import measure_masking  # noqa: E402
from benchmarks.transfer.protocol import ALL_METHODS, FULL, QUICK, Protocol  # noqa: E402
from benchmarks.transfer.pruning import measure_pruning  # noqa: E402
from benchmarks.transfer.report import present  # noqa: E402
from benchmarks.transfer.result import collect  # noqa: E402
from benchmarks.transfer.serving import measure_fold, measure_serving  # noqa: E402
from benchmarks.transfer.sizes import measure_sizes  # noqa: E402
from benchmarks.transfer.speed import measure_speed  # noqa: E402
from benchmarks.transfer.work import Work  # noqa: E402
from paceline.transfer.methods import METHODS  # noqa: E402

SECTIONS: dict[str, Callable[[Work], None]] = {
    "accuracy": measure_accuracy,
    "masking": measure_masking,
    "irrelevant": measure_irrelevant,
    "pruning": measure_pruning,
    "serving": measure_serving,
    "fold": measure_fold,
    "sizes": measure_sizes,
    "speed": measure_speed,
}


def identity(protocol: Protocol) -> dict[str, Any]:
    """What a cell must have been measured under to count: also the base, and what is learned by default."""
    return {
        **asdict(protocol),
        "commit": machine.commit(),
        "base": base().sha256,
        "options": msgspec.to_builtins(options(protocol, seed=0)),
        "methods": [msgspec.to_builtins(METHODS[name]) for name in ALL_METHODS],
    }


def main() -> None:
    given = command.parser(__doc__, SECTIONS, kept="finished cells and the networks that they made").parse_args()
    if given.show:
        present(json.loads(given.show.read_text()), readme=given.readme)
        return
    protocol = QUICK if given.quick else FULL
    cells, folder = cells_and_folder(
        given.work_dir, f"transfer-{protocol.name}", identity(protocol), beside="nets", resume=given.resume
    )
    work = Work(cells, protocol, folder)
    device = machine.describe(("paceline", "torch", "numpy", "torch-pruning"))
    for name in given.only or SECTIONS:
        command.timed(name, functools.partial(SECTIONS[name], work))
    result = collect(device, cells, protocol)
    if given.json:
        write_json(given.json, result)
    present(result, readme=given.readme)


if __name__ == "__main__":
    main()

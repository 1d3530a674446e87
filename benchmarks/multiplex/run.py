"""Measures many models on one device: kernels, whole models, a front end at saturation and under given arrivals, and what it costs.

python benchmarks/multiplex/run.py --quick --json result.json
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / part) for part in (".", "src")]

import torch  # noqa: E402

from benchmarks.common import command, machine  # noqa: E402 - runs as a script from any folder
from benchmarks.common.cells import Cells, write_json  # noqa: E402
from benchmarks.multiplex.coalescing import measure_adapters, measure_coalesce, measure_large  # noqa: E402
from benchmarks.multiplex.exactness import measure_exact  # noqa: E402
from benchmarks.multiplex.memory import measure_memory  # noqa: E402
from benchmarks.multiplex.micro import measure_micro  # noqa: E402
from benchmarks.multiplex.open_loop import measure_open_loop  # noqa: E402
from benchmarks.multiplex.overhead import measure_overhead  # noqa: E402
from benchmarks.multiplex.protocol import FULL, QUICK, Protocol  # noqa: E402
from benchmarks.multiplex.report import present  # noqa: E402
from benchmarks.multiplex.result import collect  # noqa: E402
from benchmarks.multiplex.saturation import measure_saturation  # noqa: E402

Measure = Callable[[Cells, Protocol], None]
SECTIONS: dict[str, Measure] = {
    "micro": measure_micro,
    "coalesce": measure_coalesce,
    "adapters": measure_adapters,
    "resnet50": measure_large,
    "saturation": measure_saturation,
    "open-loop": measure_open_loop,
    "overhead": measure_overhead,
    "memory": measure_memory,
    "exact": measure_exact,
}


def main() -> None:
    options = command.parser(__doc__, SECTIONS, kept="finished cells, and which kernels were chosen").parse_args()
    if options.show:
        present(json.loads(options.show.read_text()), readme=options.readme)
        return
    protocol = QUICK if options.quick else FULL
    options.work_dir.mkdir(parents=True, exist_ok=True)
    path = options.work_dir / f"multiplex-{protocol.name}.json"
    choices = options.work_dir / f"multiplex-{protocol.name}-cache"
    if not options.resume:
        path.unlink(missing_ok=True)
        shutil.rmtree(choices, ignore_errors=True)
    os.environ["XDG_CACHE_HOME"] = str(choices.resolve())  # kernels are chosen anew: nothing from before counts
    warnings.filterwarnings(
        "ignore", message="There is a performance drop"
    )  # of vmap over attention: the tables show it
    torch.set_num_threads(1)
    cells = Cells(path, {**asdict(protocol), "commit": machine.commit()})
    device = machine.describe(("paceline", "torch", "numpy"))
    for name in options.only or SECTIONS:
        command.timed(name, lambda name=name: SECTIONS[name](cells, protocol))
    result = collect(device, cells, protocol)
    if options.json:
        write_json(options.json, result)
    present(result, readme=options.readme)


if __name__ == "__main__":
    main()

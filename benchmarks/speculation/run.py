"""Measures speculative decoding under load: nine arms of the packaged model, forced acceptance, a simulated grid.

python benchmarks/speculation/run.py --quick --json result.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / part) for part in (".", "src")]

from benchmarks.common import command, machine  # noqa: E402 - runs as a script from any folder
from benchmarks.common.cells import Cells, write_json  # noqa: E402
from benchmarks.speculation import simulated  # noqa: E402
from benchmarks.speculation.calm import measure_calm  # noqa: E402
from benchmarks.speculation.forced import measure_forced  # noqa: E402
from benchmarks.speculation.live import Arms, measure_live, measure_saturation, opened_arms  # noqa: E402
from benchmarks.speculation.load_step import measure_load_step  # noqa: E402
from benchmarks.speculation.overhead import measure_overhead  # noqa: E402
from benchmarks.speculation.protocol import FULL, QUICK, Protocol  # noqa: E402
from benchmarks.speculation.report import present  # noqa: E402
from benchmarks.speculation.result import collect  # noqa: E402

LIVE_SECTIONS = ("live", "load-step", "calm", "overhead")
SECTIONS = (*LIVE_SECTIONS, "forced", "simulated")


def main() -> None:
    options = _options()
    if options.show:
        present(json.loads(options.show.read_text()), readme=options.readme)
        return
    form = QUICK if options.quick else FULL
    protocol = form if options.seeds is None else replace(form, seeds=tuple(range(options.seeds)))
    options.work_dir.mkdir(parents=True, exist_ok=True)
    path = options.work_dir / f"speculation-{protocol.name}.json"
    if not options.resume:
        path.unlink(missing_ok=True)
    cells = Cells(path, {**asdict(protocol), "commit": machine.commit()})
    device = machine.describe(("paceline", "torch", "numpy", "tokenizers"))
    _measure(set(options.only or SECTIONS), cells, protocol, options.work_dir)
    result = collect(device, cells, protocol)
    if options.json:
        write_json(options.json, result)
    present(result, readme=options.readme)


def _measure(wanted: set[str], cells: Cells, protocol: Protocol, work_dir: Path) -> None:
    if wanted & set(LIVE_SECTIONS):
        with opened_arms() as arms:
            command.timed("saturation", lambda: measure_saturation(arms, cells, protocol))
            for name, measure in _live_sections(arms, cells, protocol, work_dir).items():
                if name in wanted:
                    command.timed(name, measure)
    if "forced" in wanted:
        command.timed("forced", lambda: measure_forced(cells, protocol, work_dir))
    if "simulated" in wanted:
        command.timed(
            "simulated", lambda: _simulate(cells, simulated.QUICK if protocol.name == QUICK.name else simulated.FULL)
        )


def _simulate(cells: Cells, form: simulated.Form) -> None:
    """One cell for each place, so that an interrupted run goes on behind the last."""
    for place in form.places:
        name = f"simulated/{place.model}/{place.device}/{place.workload}"
        if cells.get(name) is None:
            rows = list(simulated.simulated_rows(replace(form, places=(place,))))
            cells.put(name, {"rows": rows, "recorded_traces": simulated.TRACES.exists()})


def _live_sections(arms: Arms, cells: Cells, protocol: Protocol, work_dir: Path) -> dict[str, Callable[[], None]]:
    return {
        "live": lambda: measure_live(arms, cells, protocol),
        "load-step": lambda: measure_load_step(arms, cells, protocol),
        "calm": lambda: measure_calm(arms, cells, protocol, work_dir),
        "overhead": lambda: measure_overhead(arms, cells, protocol),
    }


def _options() -> argparse.Namespace:
    parser = command.parser(__doc__, SECTIONS, kept="random models and finished cells")
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="live runs of each cell; without it those of the form: 1 or 3"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""Measures one engine step against transformers and, where given, vLLM, OpenVINO GenAI and llama.cpp.

python benchmarks/engine/run.py --quick --json result.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / part) for part in (".", "src")]

from rich.console import Console  # noqa: E402 - runs as a script from any folder

from benchmarks.common import command, machine  # noqa: E402
from benchmarks.common.arms import ArmError  # noqa: E402
from benchmarks.common.cells import Cells, write_json  # noqa: E402
from benchmarks.engine.arms import Bench  # noqa: E402
from benchmarks.engine.goals import as_json, goals  # noqa: E402
from benchmarks.engine.protocol import FULL, GROUPS, QUICK, RUNNER, Protocol  # noqa: E402
from benchmarks.engine.quality import measure_logits, measure_perplexity  # noqa: E402
from benchmarks.engine.report import show, write_readme  # noqa: E402
from benchmarks.engine.serving import SERVED, measure_served, measure_starts  # noqa: E402
from benchmarks.engine.steps import measure_group  # noqa: E402
from benchmarks.engine.summary import summarise  # noqa: E402

PEERS = ("vllm", "openvino", "llamacpp")
SECTIONS: dict[str, Callable[[Bench, Cells, Protocol], None]] = {
    **{group: partial(measure_group, group) for group in GROUPS},
    "starts": measure_starts,
    **{f"served-{model}": partial(measure_served, model) for model in SERVED},
    "perplexity": measure_perplexity,
    "logits": lambda bench, cells, _: measure_logits(bench, cells),
}


def main() -> None:
    options = _options()
    if options.show:
        _present(json.loads(options.show.read_text()), readme=options.readme)
        return
    protocol = QUICK if options.quick else FULL
    options.work_dir.mkdir(parents=True, exist_ok=True)
    peers = {name: python for name in PEERS if (python := getattr(options, f"peer_{name}"))}
    pythons = {**dict.fromkeys(("paceline", RUNNER, "transformers"), sys.executable), **peers}
    bench = Bench(pythons, options.work_dir, protocol.repeat_until_s)
    path = options.work_dir / f"cells-{protocol.name}.json"
    if not options.resume:
        path.unlink(missing_ok=True)
    cells = Cells(path, {**asdict(protocol), "commit": machine.commit(), "arms": sorted(pythons)})
    device = machine.describe(("paceline", "torch", "numpy", "tokenizers", "safetensors"))
    for name in options.only or SECTIONS:
        print(f"{name} …", flush=True)
        try:
            SECTIONS[name](bench, cells, protocol)
        except (ArmError, OSError, RuntimeError) as error:
            bench.note(name, str(error))
    result = _result(device, bench, cells, protocol)
    if options.json:
        write_json(options.json, result)
    _present(result, readme=options.readme)


def _present(result: dict[str, Any], *, readme: bool) -> None:
    show(result, Console())
    if readme:
        write_readme(result, Path(__file__).with_name("README.md"))


def _result(device: dict[str, Any], bench: Bench, cells: Cells, protocol: Protocol) -> dict[str, Any]:
    versions = {**(cells.get("versions") or {}), **bench.versions}
    cells.put("versions", versions)
    figures = summarise(cells)
    return {
        "device": device,
        **figures,
        "goals": as_json(goals(figures)),
        "versions": versions,
        "protocol": asdict(protocol),
        "missing": bench.missing,
    }


def _options() -> argparse.Namespace:
    parser = command.parser(__doc__, SECTIONS, kept="models, converted models, logs and finished cells")
    for peer in PEERS:
        parser.add_argument(f"--peer-{peer}", metavar="PYTHON", help=f"Python of an environment that has {peer}")
    return parser.parse_args()


if __name__ == "__main__":
    main()

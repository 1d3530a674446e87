"""The result for people: tables on the terminal, the same tables and the figures in this folder's README."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.common.tables import Table, markdown, number, show, write_between_marks
from benchmarks.speculation.figures import write_figures
from benchmarks.speculation.protocol import (
    ARMS,
    FIXED,
    FORCED_ACCEPTANCES,
    FORCED_ARMS,
    FORCED_BATCHES,
    ORACLE,
    OURS,
    PLAIN,
    RHOS,
    WORKLOADS,
)

HERE = Path(__file__).parent
PLAIN_WIDTH = 160  # of a log


def present(result: dict[str, Any], *, readme: bool) -> None:
    """Prints the tables; ``readme`` puts them and the figures into this folder's README."""
    show(tables(result), Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH))
    if not readme:
        return
    figures = write_figures(result, HERE / "results")
    pictures = [f"![{path.stem.replace('-', ' ')}](results/{path.name})" for path in figures]
    shown = [markdown(table) for table in tables(result) if table.rows]
    write_between_marks(HERE / "README.md", [_machine(result), *pictures, *shown])


def tables(result: dict[str, Any]) -> Iterable[Table]:
    """Every table of the result; those of sections that were not measured have no rows."""
    arms = [arm for arm in ARMS if arm != PLAIN]
    yield Table("Goals", ["figure", "measured", "floor", "aim", ""], list(_goals(result)))
    yield Table(
        "Mean latency of plain over that of each arm (above 1: faster)", ["workload, load", *arms], _cells(result)
    )
    yield Table("Over all cells", ["figure", *arms], list(_over_cells(result["summary"])))
    yield Table(
        "Workloads",
        ["", "requests/s at saturation", "alone, ms", "prompt tokens", "output tokens", "repeated"],
        _workloads(result),
    )
    yield Table("Load step", ["load", "steps", "sequences", "draft tokens", "settled after"], list(_load_step(result)))
    yield Table(
        "Nothing worth predicting: time of plain over adaptive",
        ["text, batch", "ratio", "95 %", "accepted per token"],
        list(_calm(result)),
    )
    yield Table("The controller at 32 sequences", ["", "silent proposers", "all proposers"], list(_overhead(result)))
    yield Table(
        "Forced acceptance, model A: tokens/s over plain",
        ["acceptance, batch", "plain, tokens/s", *(arm for arm in FORCED_ARMS if arm != PLAIN)],
        list(_forced(result)),
    )
    yield from _simulated(result["simulated"])


def _goals(result: dict[str, Any]) -> Iterator[list[str]]:
    for goal in result["goals"]:
        bound = f"{'≤' if goal['at_most'] else '≥'} {goal['floor']:g}"
        yield [goal["name"], number(goal["value"]), bound, f"{goal['aim']:g}", goal["verdict"]]


def _cells(result: dict[str, Any]) -> list[list[str]]:
    rows = {(row["workload"], row["rho"], row["arm"]): row for row in result["cells"]}
    shown = []
    for workload in WORKLOADS:
        for rho in RHOS:
            found = [rows.get((workload, rho, arm)) for arm in ARMS if arm != PLAIN]
            if any(found):
                shown.append([f"{workload}, {rho:g}", *map(_ratio, found)])
    return shown


def _ratio(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    if row["arm"] != OURS:
        return f"{row['vs_plain']:.2f}"
    return f"**{row['vs_plain']:.2f}** ({row['vs_plain_low']:.2f}–{row['vs_plain_high']:.2f})"


def _over_cells(summary: dict[str, Any]) -> Iterator[list[str]]:
    names = {
        "geometric_mean_vs_plain": "geometric mean vs plain",
        "geometric_mean_vs_best_fixed": f"geometric mean vs the best of {', '.join(FIXED)} in each cell",
        "worst_vs_plain": "worst cell vs plain",
        "num_cells_vs_plain_reached": "cells that reach 0.98 of plain",
        "num_cells_vs_best_fixed_reached": "cells that reach 0.97 of the best fixed length",
    }
    for key, name in names.items() if summary else ():
        yield [name, *(number(value) for value in summary[key].values())]


def _workloads(result: dict[str, Any]) -> list[list[str]]:
    return [
        [
            workload,
            number(found["requests_per_s"]),
            number(1e3 * found["alone_s"]),
            number(found["mean_prompt_tokens"]),
            number(found["mean_output_tokens"]),
            f"{found['repeated_share']:.2f}",
        ]
        for workload, found in result["saturation"].items()
    ]


def _load_step(result: dict[str, Any]) -> Iterator[list[str]]:
    step = result["load_step"]
    if not step:
        return
    settled = ["–", *(number(step["steps_to_settle"][way]) for way in ("up", "down"))]
    for index, phase in enumerate(step["phases"]):
        yield [
            f"{phase['rho']:g}",
            str(step["num_steps"][index]),
            number(step["mean_sequences"][index]),
            number(step["mean_length"][index]),
            settled[index],
        ]


def _calm(result: dict[str, Any]) -> Iterator[list[str]]:
    for row in result["calm"]:
        interval = f"{row['vs_plain_low']:.3f}–{row['vs_plain_high']:.3f}"
        yield [f"{row['text']}, {row['batch']}", f"{row['vs_plain']:.3f}", interval, number(row["accepted_per_token"])]


def _overhead(result: dict[str, Any]) -> Iterator[list[str]]:
    found = result["overhead"]
    names = {
        "us_per_step": "controller, µs a step",
        "share": "controller, share of a step",
        "share_with_proposers": "controller and proposers, share of a step",
        "awake_share": "steps in which it did not rest",
        "us_per_awake_step": "controller, µs in such a step",
    }
    for key, name in names.items() if found else ():
        yield [name, *(number(found[kind][key]) for kind in ("without_proposals", "with_proposals"))]


def _forced(result: dict[str, Any]) -> Iterator[list[str]]:
    rows = {(row["acceptance"], row["batch"], row["arm"]): row for row in result["forced"]}
    for rate in FORCED_ACCEPTANCES:
        for batch in FORCED_BATCHES:
            if (rate, batch, PLAIN) in rows:
                speedups = [f"{rows[rate, batch, arm]['speedup']:.2f}" for arm in FORCED_ARMS if arm != PLAIN]
                yield [f"{rate:g}, {batch}", number(rows[rate, batch, PLAIN]["tokens_per_s"]), *speedups]


def _simulated(rows: list[dict[str, Any]]) -> Iterator[Table]:
    """One table for each model and device: policies over batches, on the mix of workloads and each alone."""
    for model, device in dict.fromkeys((row["model"], row["device"]) for row in rows):
        here = [row for row in rows if (row["model"], row["device"]) == (model, device)]
        policies = [policy for policy in dict.fromkeys(row["policy"] for row in here) if policy != PLAIN]
        found = {(row["workload"], row["batch"], row["policy"]): row["speedup"] for row in here}
        places = dict.fromkeys((row["workload"], row["batch"]) for row in here)
        shown = [
            [
                f"{workload}, {batch}",
                *(number(found.get((workload, batch, policy))) for policy in policies),
                _below_oracle(found.get((workload, batch, OURS)), found.get((workload, batch, ORACLE))),
            ]
            for workload, batch in places
        ]
        header = ["workload, batch", *policies, f"{OURS} below {ORACLE}"]
        yield Table(f"Simulated {model} on {device}: speed-up over plain", header, shown)


def _below_oracle(ours: float | None, oracle: float | None) -> str:
    return "–" if ours is None or not oracle else f"{1.0 - ours / oracle:.1%}"


def _machine(result: dict[str, Any]) -> str:
    device, protocol = result["device"], result["protocol"]
    return (
        f"{device['cpu']}, {device['num_cores']} cores ({', '.join(device['cpu_flags'])}), {device['memory_gib']:g} GiB, "
        f"{device['os']}, Python {device['python']}; commit {device['commit']}. "
        f"Form: {protocol['name']}, seeds {', '.join(map(str, protocol['seeds']))}; load average at the start {device['load_average']:g}."
    )

"""The result for people: tables on the terminal, the same tables and the figures in this folder's README."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.common.tables import Table, markdown, number, show, write_between_marks
from benchmarks.multiplex.figures import write_figures
from benchmarks.multiplex.protocol import ARMS, GEMMS, LOOP, OURS, SERVED_ARMS, SHARED
from benchmarks.multiplex.saturation import HOWS

HERE = Path(__file__).parent
PLAIN_WIDTH = 160  # of a log
_PAPER = {  # geometric means over 2 <= R <= 120 of the paper, on a V100: over one after another, over streams
    "512x1x512": "2.48, –", "256x128x1152": "7.71, 3.23", "256x256x256": "–, 4.93",
}  # fmt: skip


def present(result: dict[str, Any], *, readme: bool) -> None:
    """Prints the tables; ``readme`` puts them and the figures into this folder's README."""
    show(tables(result), Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH))
    if not readme:
        return
    figures = write_figures(result, HERE / "results")
    pictures = [f"![{path.stem}](results/{path.name})" for path in figures]
    shown = [markdown(table) for table in tables(result) if table.rows]
    write_between_marks(HERE / "README.md", [_machine(result), *pictures, *shown])


def tables(result: dict[str, Any]) -> Iterable[Table]:
    """Every table of the result; those of sections that were not measured have no rows."""
    yield Table("Goals", ["figure", "measured", "floor", "aim", ""], list(_goals(result)))
    yield Table(
        "Matrix products: geometric mean over R ≥ 2 of the arm's time over ours",
        ["M × N × K", LOOP, "threads", "vmap", "batching", "paper's GPU, over serial and streams"],
        list(_products(result)),
    )
    yield Table(
        "Whole models, µs for all R, one row each, float32",
        ["net, width, R, weights", *ARMS, "loop over ours", "95 %", "largest difference"],
        list(_models(result)),
    )
    yield Table(
        "Adapters and ResNet-50, ms",
        ["", LOOP, "one base batch", OURS, "loop over ours", "95 %"],
        list(_singles(result)),
    )
    yield Table(
        "Behind the front end at saturation, requests/s",
        ["net, through", *SERVED_ARMS, "ours over the best peer", "95 %"],
        list(_saturation(result["saturation"])),
    )
    yield Table(
        "Goodput, requests answered in time per second",
        ["mix, SLO × alone, offered rate", *SERVED_ARMS],
        list(_goodput(result["open_loop"])),
    )
    yield Table(
        "Goodput at 1.5 × our capacity (share of the arm's own peak)",
        ["mix, SLO × alone", *SERVED_ARMS],
        list(_overload(result["overload"])),
    )
    yield Table("What it costs", ["figure", "value"], list(_costs(result)))
    yield Table("Arms that could not take part", ["cell, arm", "what they said"], list(_missing(result["missing"])))


def _goals(result: dict[str, Any]) -> Iterator[list[str]]:
    for goal in result["goals"]:
        bound = f"{'≤' if goal['at_most'] else '≥'} {goal['floor']:g}"
        yield [goal["name"], number(goal["value"]), bound, f"{goal['aim']:g}", goal["verdict"]]


def _products(result: dict[str, Any]) -> Iterator[list[str]]:
    times = {(row["shape"], row["R"], row["arm"]): row["seconds"] for row in result["micro"]}
    for shape in (*GEMMS, *(shape + SHARED for shape in GEMMS)):
        nums = sorted({num for found, num, _ in times if found == shape and num >= 2})
        if nums:
            arms = (LOOP, "threads", "vmap", "batching")
            means = [
                geometric_mean(
                    [times[shape, num, arm] / times[shape, num, OURS] for num in nums if (shape, num, arm) in times]
                )
                for arm in arms
            ]
            yield [f"{shape.replace(SHARED, ', shared')}, R to {nums[-1]}", *map(number, means), _PAPER.get(shape, "–")]


def geometric_mean(values: list[float]) -> float | None:
    """
    >>> geometric_mean([2.0, 8.0]), geometric_mean([])
    (4.0, None)
    """
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def _models(result: dict[str, Any]) -> Iterator[list[str]]:
    found = {(row["net"], row["width"], row["R"], row["weights"], row["arm"]): row for row in result["coalesce"]}
    ratios = {gain["cell"]: gain for gain in result["gains"] if gain["arm"] == LOOP}
    for net, width, num, weights in dict.fromkeys(key[:4] for key in found):
        rows = [found.get((net, width, num, weights, arm)) for arm in ARMS]
        gain = ratios.get(f"coalesce/{net}/{width}/{num}/{weights}")
        largest = max(row["max_diff"] for row in rows if row)
        seconds = [number(row and 1e6 * row["seconds"]) for row in rows]
        yield [f"{net} {width}, {num}, {weights}", *seconds, *_gain(gain), f"{largest:.1e}"]


def _gain(gain: dict[str, Any] | None) -> list[str]:
    return [f"{gain['ratio']:.2f}", f"{gain['low']:.2f}–{gain['high']:.2f}"] if gain else ["–", "–"]


def _singles(result: dict[str, Any]) -> Iterator[list[str]]:
    ratios = {gain["cell"]: gain for gain in result["gains"] if gain["arm"] == LOOP}
    for key, cell, name in (
        ("adapters", "adapters", "8 adapters over one ResNet"),
        ("resnet50", "large", "ResNet-50 at 224, different weights"),
    ):
        if result[key]:
            seconds = result[key]["seconds"]
            shown = [number(seconds.get(arm) and 1e3 * seconds[arm]) for arm in (LOOP, "base", OURS)]
            yield [name, *shown, *_gain(ratios.get(cell))]


def _saturation(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    found = {(row["net"], row["how"], row["arm"]): row for row in rows}
    for net in dict.fromkeys(row["net"] for row in rows):
        for how in HOWS:
            cells = [found.get((net, how, arm)) for arm in SERVED_ARMS]
            ours = found[net, how, OURS]
            ratio = [f"{ours['over_best_peer']:.2f} ({ours['best_peer']})", f"{ours['low']:.2f}–{ours['high']:.2f}"]
            yield [f"{net}, {how}", *(number(row and row["requests_per_s"]) for row in cells), *ratio]


def _goodput(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    found = {(row["mix"], row["slo_x"], row["rate"], row["arm"]): row["goodput"] for row in rows}
    for mix, slo_x, rate in dict.fromkeys(key[:3] for key in found):
        yield [f"{mix}, {slo_x:g}, {rate:.0f}", *(number(found.get((mix, slo_x, rate, arm))) for arm in SERVED_ARMS)]


def _overload(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    found = {(row["mix"], row["slo_x"], row["arm"]): row for row in rows}
    for mix, slo_x in dict.fromkeys(key[:2] for key in found):
        cells = [found.get((mix, slo_x, arm)) for arm in SERVED_ARMS]
        yield [
            f"{mix}, {slo_x:g}",
            *(f"{row['goodput']:.0f} ({row['share_of_peak']:.0%})" if row else "–" for row in cells),
        ]


def _costs(result: dict[str, Any]) -> Iterator[list[str]]:
    overhead, memory, serving = result["overhead"], result["memory"], result["serving"]
    if overhead:
        yield ["own overhead, µs a request", number(overhead["us_per_request"])]
        yield ["own overhead, µs a launch", number(overhead["us_per_launch"])]
        yield ["the empty front end, µs a request", number(overhead["hop_us_per_request"])]
    if memory:
        yield ["the base alone, process, MiB", number(memory["base_mib"])]
        yield [f"with {memory['num_adapters']} adapters, process, MiB", number(memory["resident_mib"])]
        yield ["registering an adapter, ms", number(memory["register_ms"])]
    for row in result["exact"]:
        yield [
            f"exact, {row['net']}: answers with the same bits as alone",
            f"{row['num_equal']} of {row['num_compared']}",
        ]
    if serving:
        yield ["a request alone behind the front end, ms", number(1e3 * serving["solo_s"])]
        for key, which in (("lag_p99_s", "the median run"), ("worst_lag_p99_s", "the worst run")):
            yield [f"the generator's lag, p99 of {which}, ms", number(serving[key] and 1e3 * serving[key])]


def _missing(rows: list[dict[str, str]]) -> Iterator[list[str]]:
    seen = set()
    for row in rows:
        key = (row["cell"].split("/")[1], row["arm"], row["reason"])
        if key not in seen:
            seen.add(key)
            yield [f"{key[0]}, {row['arm']}", row["reason"]]


def _machine(result: dict[str, Any]) -> str:
    device = result["device"]
    return (
        f"{device['cpu']}, {device['num_cores']} cores, {device['memory_gib']} GiB, {device['os']}, "
        f"Python {device['python']}, torch {device['libraries'].get('torch')}; commit {device['commit']}. Form: {result['protocol']['name']}; "
        f"load average at the start {device['load_average']}. Numerics: close, and exact where it says so."
    )

"""The result for people: tables on the terminal, the same tables and the figures in this folder's README."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.common.tables import Table, markdown, number, show, write_between_marks
from benchmarks.transfer.figures import write_figures
from benchmarks.transfer.masking import NONE

HERE = Path(__file__).parent
PLAIN_WIDTH = 160  # of a log


def present(result: dict[str, Any], *, readme: bool) -> None:
    """Prints the tables; ``readme`` puts them and the figures into this folder's README."""
    show(tables(result), Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH))
    if not readme:
        return
    pictures = [f"![{path.stem}](results/{path.name})" for path in write_figures(result, HERE / "results")]
    shown = [markdown(table) for table in tables(result) if table.rows]
    write_between_marks(HERE / "README.md", [_machine(result), *pictures, *shown])


def tables(result: dict[str, Any]) -> Iterable[Table]:
    """Every table of the result; those of sections that were not measured have no rows."""
    yield Table("Goals", ["figure", "measured", "floor", "aim", ""], list(_goals(result)))
    yield Table(
        "Accuracy, % of test pictures: mean over seeds ± half the 95 % interval",
        ["target, shots, method", "seeds", "top-1", "gap closed", "95 %", "over the probe", "learned", "s"],
        list(_gaps(result["gaps"])),
    )
    yield Table(
        "Epochs to 95 % of the final accuracy, the head's included",
        ["method", "for the first time", "for good"],
        [
            [method, number(first), number(result["epochs_to_stay_at_95"][method])]
            for method, first in result["epochs_to_95"].items()
        ],
    )
    shares = sorted({row["share"] for row in result["masking"] if row["criterion"] != NONE})
    yield Table(
        "Channels masked by importance, nothing healed: top-1, %",
        ["criterion", *(f"{share:.0%} masked" for share in shares)],
        list(_masking(result["masking"], shares)),
    )
    yield Table(
        "Known-irrelevant channels among the lowest of their unit, %",
        ["criterion", "lowest half (chance 50)", "lowest third (chance 33)"],
        list(_recalls(result["irrelevant_recall"])),
    )
    yield Table(
        "Cut to a share of the multiplications",
        ["share", "before healing", "after", "points lost", "ms", "times as fast", "95 %", "kB"],
        list(_pruning(result["pruning"])),
    )
    yield Table(
        "Eight adapters over one base, a batch of 64",
        ["what runs", "ms", "over the mixed batch", "95 %"],
        list(_serving(result["serving"])),
    )
    yield Table("Training, pictures/s", ["what learns", "pictures/s", "ratio", "95 %"], list(_speed(result["speed"])))
    yield Table("Sizes and differences", ["figure", "value"], list(_sizes(result)))


def _goals(result: dict[str, Any]) -> Iterator[list[str]]:
    for goal in result["goals"]:
        bound = f"{'≤' if goal['at_most'] else '≥'} {goal['floor']:g}"
        yield [goal["name"], number(goal["value"]), bound, f"{goal['aim']:g}", goal["verdict"]]


def _gaps(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    for row in sorted(rows, key=lambda row: (row["target"], -row["shots"], row["test_top1"]["value"])):
        gap, over = row["gap_closed"], row["over_probe"]
        yield [
            f"{row['target']}, {row['shots']}, {row['method']}",
            str(row["num_seeds"]),
            _percent(row["test_top1"]),
            f"{gap['value']:.0%}" if gap else "–",
            _between(gap, "{:.0%}"),
            _percent(over),
            str(row["trainable"]),
            number(row["seconds"]),
        ]


def _percent(bounds: dict[str, Any] | None) -> str:
    """
    >>> _percent({"value": 0.5, "low": 0.45, "high": 0.55}), _percent({"value": 0.5, "low": None, "high": None})
    ('50.0 ± 5.0', '50.0')
    """
    if not bounds:
        return "–"
    half = "" if bounds["low"] is None else f" ± {50 * (bounds['high'] - bounds['low']):.1f}"
    return f"{100 * bounds['value']:.1f}{half}"


def _between(bounds: dict[str, Any] | None, shown: str = "{:.2f}") -> str:
    if not bounds or bounds["low"] is None:
        return "–"
    return f"{shown.format(bounds['low'])}–{shown.format(bounds['high'])}"


def _masking(rows: list[dict[str, Any]], shares: list[float]) -> Iterator[list[str]]:
    found = {(row["criterion"], row["share"]): row["test_top1"] for row in rows}
    for criterion in dict.fromkeys(criterion for criterion, _ in found):
        if criterion == NONE:
            yield ["nothing masked", *[f"{100 * found[NONE, 0.0]:.1f}"] * len(shares)]
        else:
            yield [criterion, *(f"{100 * found[criterion, share]:.1f}" for share in shares)]


def _recalls(found: dict[str, Any] | None) -> Iterator[list[str]]:
    for criterion, shares in (found["by_criterion"] if found else {}).items():
        yield [criterion, _percent(shares["half"]), _percent(shares["third"])]


def _pruning(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    for row in rows:
        faster = row["speed_up"]
        yield [
            f"{row['macs']:g}",
            f"{100 * row['before_heal']:.1f}",
            f"{100 * row['after_heal']:.1f}",
            f"{100 * row['lost']:.1f}",
            number(row["latency_ms"]),
            f"{faster['value']:.2f}" if faster else "–",
            _between(faster),
            number(row["bytes"] / 1e3),
        ]


def _serving(serving: dict[str, Any] | None) -> Iterator[list[str]]:
    if not serving:
        return
    mixed = serving["mixed_over_base"]
    yield ["the base alone, its norms unfolded", number(serving["base_ms"]), "–", "–"]
    yield ["all in one mixed batch (beside: over the base)", number(serving["mixed8_ms"]), *_ratio(mixed)]
    for key, over, name in (
        ("separate8_ms", "separate_over_mixed", "eight batches, one base"),
        ("separate8_folded_ms", "folded_over_mixed", "eight batches, eight folded networks"),
    ):
        yield [name, number(serving[key]), *_ratio(serving[over])]


def _ratio(bounds: dict[str, Any] | None) -> list[str]:
    return [f"{bounds['value']:.2f}" if bounds else "–", _between(bounds)]


def _speed(speed: dict[str, Any] | None) -> Iterator[list[str]]:
    if not speed:
        return
    beside = {"glyphnet affine": speed["affine_over_full"], "resnet50 affine": speed["resnet50_over_plain"]}
    for name, rate in speed["pictures_per_s"].items():
        yield [name, number(rate), *_ratio(beside.get(name))]


def _sizes(result: dict[str, Any]) -> Iterator[list[str]]:
    for name, size in result["adapter_bytes"].items():
        yield [f"adapter, 20 classes, fp16, {name}, kB", number(size / 1e3)]
    if result["memory"]:
        yield [f"{result['memory']['tenants']} tenants of ResNet-50, MB", number(result["memory"]["bytes"] / 1e6)]
    for name, difference in (result["fold"] or {"by_net": {}})["by_net"].items():
        yield [f"folded, largest relative difference, {name}", f"{difference:.1e}"]
    if result["serving"]:
        yield ["mixed batch, largest relative difference", f"{result['serving']['max_rel_diff']:.1e}"]
    stability = result["stability"]
    if stability:
        label = f"Taylor rankings of {stability['num_rankings']} seeds, Spearman: all channels, mean and least of units"
        values = (stability["overall"], stability["mean_of_units"], stability["least_of_units"])
        yield [label, ", ".join(f"{value:.2f}" for value in values)]
    if result["irrelevant_recall"]:
        planted = 100 * result["irrelevant_recall"]["test_top1"]
        yield ["the network with planted channels, top-1, %", f"{planted:.1f}"]


def _machine(result: dict[str, Any]) -> str:
    device = result["device"]
    return (
        f"{device['cpu']}, {device['num_cores']} cores, {device['memory_gib']} GiB, {device['os']}, Python {device['python']}, "
        f"torch {device['libraries'].get('torch')}; commit {device['commit']}. Form: {result['protocol']['name']}; "
        f"load average at the start {device['load_average']}."
    )

"""Accuracy by method with its intervals; accuracy over what is masked and over what is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.common.svg import Chart, Line, figure
from benchmarks.transfer.masking import NONE
from benchmarks.transfer.protocol import ALL_METHODS, SHOTS, TARGETS

_SHOT_COLOURS = dict(zip(SHOTS, ("#6baed6", "#3182bd", "#e6550d"), strict=True))
_ASIDE = 0.1
_CRITERIA = {
    "random": "#bdbdbd", "weight_l1": "#8c6d31", "gamma": "#3182bd", "magnitude": "#756bb1", "activation": "#31a354",
    "fisher": "#fdae6b", "taylor": "#e6550d", "separation": "#636363",
}  # fmt: skip


def write_figures(result: dict[str, Any], folder: Path) -> list[Path]:
    """Writes those that the result has data for."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {"accuracy.svg": accuracy_figure(result), "channels.svg": channels_figure(result)}
    paths = [folder / name for name, text in drawn.items() if text is not None]
    for path in paths:
        path.write_text(drawn[path.name] or "")
    return paths


def accuracy_figure(result: dict[str, Any]) -> str | None:
    """A chart for each target: methods side by side, an upright stroke for each 95 % interval."""
    charts = []
    for target in TARGETS:
        rows = [row for row in result["gaps"] if row["target"] == target]
        if not rows:
            continue
        names = [name for name in ALL_METHODS if name in {row["method"] for row in rows}]
        lines = [line for shots in SHOTS for line in _accuracies(rows, names, shots)]
        charts.append(Chart(title=target, x_label="", y_label="top-1 on test pictures", lines=lines, x_names=names))
    return figure(charts, columns=1, size=(860.0, 300.0)) if charts else None


def _accuracies(rows: list[dict[str, Any]], names: list[str], shots: int) -> list[Line]:
    aside = _ASIDE * (SHOTS.index(shots) - 1)  # so that strokes do not hide each other
    placed = {names.index(row["method"]) + 1 + aside: row["test_top1"] for row in rows if row["shots"] == shots}
    if not placed:
        return []
    colour = _SHOT_COLOURS[shots]
    dots = [(x, bounds["value"]) for x, bounds in sorted(placed.items())]
    strokes = [
        Line(points=[(x, bounds["low"]), (x, bounds["high"])], colour=colour, width=2.4)
        for x, bounds in placed.items()
        if bounds["low"] is not None
    ]
    return [Line(points=dots, colour=colour, label=f"{shots} shots", width=0.8, dash="2 4", dots=True), *strokes]


def channels_figure(result: dict[str, Any]) -> str | None:
    charts = []
    if result["masking"]:
        whole = [(0.0, row["test_top1"]) for row in result["masking"] if row["criterion"] == NONE]
        lines = [
            Line(
                points=[*whole, *((row["share"], row["test_top1"]) for row in _of(result, criterion))],
                colour=colour,
                label=criterion,
                width=2.6 if criterion == "taylor" else 1.6,
                dots=True,
            )
            for criterion, colour in _CRITERIA.items()
            if _of(result, criterion)
        ]
        charts.append(
            Chart(title="masked, nothing healed", x_label="share of channels masked", y_label="top-1", lines=lines)
        )
    if result["pruning"]:
        by_macs = [
            Line(
                points=[(row["macs"], row[key]) for row in result["pruning"]],
                colour=colour,
                label=label,
                width=2.4,
                dots=True,
            )
            for key, colour, label in (
                ("before_heal", "#9ecae1", "cut"),
                ("after_heal", "#24292f", "cut and healed"),
            )
        ]
        charts.append(Chart(title="cut", x_label="share of multiplications left", y_label="top-1", lines=by_macs))
    return figure(charts, columns=2) if charts else None


def _of(result: dict[str, Any], criterion: str) -> list[dict[str, Any]]:
    return [row for row in result["masking"] if row["criterion"] == criterion]

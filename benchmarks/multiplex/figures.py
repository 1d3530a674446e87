"""Goodput over offered rate, and the paper's picture: speed-up over R."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.common.svg import Chart, Line, figure
from benchmarks.multiplex.protocol import GEMMS, GOAL_SLO, LOOP, MIXES, OURS, SERVED_ARMS, SHARED

STYLES: dict[str, dict[str, Any]] = {
    LOOP: {"colour": "#24292f"},
    "threads": {"colour": "#8c6d31"},
    "batching": {"colour": "#3182bd"},
    "vmap": {"colour": "#756bb1"},
    OURS: {"colour": "#e6550d", "width": 2.8, "dots": True},
}


def write_figures(result: dict[str, Any], folder: Path) -> list[Path]:
    """Writes those that the result has data for."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {"goodput.svg": goodput_figure(result), "products.svg": products_figure(result)}
    paths = [folder / name for name, text in drawn.items() if text is not None]
    for path in paths:
        path.write_text(drawn[path.name] or "")
    return paths


def goodput_figure(result: dict[str, Any]) -> str | None:
    """A chart for each mix, under the SLO of the goal."""
    rows = [row for row in result["open_loop"] if row["slo_x"] == GOAL_SLO]
    if not rows:
        return None
    charts = []
    for mix in MIXES:
        lines = []
        for arm in SERVED_ARMS:
            own = [(row["rate"], row["goodput"]) for row in rows if (row["mix"], row["arm"]) == (mix, arm)]
            lines.append(Line(points=sorted(own), label=arm, **STYLES[arm]))
        most = max((row["rate"] for row in rows if row["mix"] == mix), default=0.0)
        lines.append(Line(points=[(0.0, 0.0), (most, most)], colour="#d8dee4", dash="3 3"))
        title = f"{mix}, SLO {GOAL_SLO:g} × a request alone"
        charts.append(
            Chart(title=title, x_label="requests per second", y_label="answered in time per second", lines=lines)
        )
    return figure(charts, columns=2)


def products_figure(result: dict[str, Any]) -> str | None:
    """Time of the loop over that of each arm, a chart for each shape and kind of weights."""
    times = {(row["shape"], row["R"], row["arm"]): row["seconds"] for row in result["micro"]}
    if not times:
        return None
    charts = []
    for shape in (*GEMMS, *(shape + SHARED for shape in GEMMS)):
        nums = sorted({num for found, num, _ in times if found == shape})
        lines = [
            Line(
                points=[
                    (num, times[shape, num, LOOP] / times[shape, num, arm])
                    for num in nums
                    if (shape, num, arm) in times
                ],
                label=arm,
                **STYLES[arm],
            )
            for arm in SERVED_ARMS
        ]
        charts.append(Chart(title=shape, x_label="products", y_label="times as fast as the loop", lines=lines))
    return figure(charts, columns=3, size=(330.0, 260.0))

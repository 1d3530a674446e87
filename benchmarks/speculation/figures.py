"""The paper's figures: mean latency over request rate; the chosen length while the load steps up and down."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks.common.svg import Chart, Line, figure
from benchmarks.speculation.protocol import ARMS, OURS, PLAIN, RHOS, WORKLOADS

STYLES: dict[str, dict[str, Any]] = {
    PLAIN: {"colour": "#24292f", "width": 2.4},
    "fixed-1": {"colour": "#9ecae1"},
    "fixed-3": {"colour": "#6baed6"},
    "fixed-5": {"colour": "#3182bd"},
    "fixed-7": {"colour": "#08519c"},
    "table": {"colour": "#8c6d31", "dash": "5 3"},
    "ema": {"colour": "#31a354", "dash": "5 3"},
    "smartspec": {"colour": "#756bb1", "dash": "5 3"},
    OURS: {"colour": "#e6550d", "width": 2.8, "dots": True},
}


def write_figures(result: dict[str, Any], folder: Path) -> list[Path]:
    """Writes those that the result has data for."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {"latency.svg": latency_figure(result), "load-step.svg": load_step_figure(result)}
    paths = []
    for name, text in drawn.items():
        if text is not None:
            (folder / name).write_text(text)
            paths.append(folder / name)
    return paths


def latency_figure(result: dict[str, Any]) -> str | None:
    """One chart for each workload; a point is the mean over seeds."""
    if not result["live"]:
        return None
    charts = []
    for workload in WORKLOADS:
        rate = result["saturation"][workload]["requests_per_s"]
        lines = [Line(points=_latencies(result["live"], workload, arm, rate), label=arm, **STYLES[arm]) for arm in ARMS]
        lines.sort(key=lambda line: line.label in (PLAIN, OURS))  # on top of the others
        charts.append(
            Chart(
                title=workload,
                x_label="requests per second",
                y_label="mean latency, ms",
                lines=lines,
                log_y=True,
                marks=[(rate, "saturation of plain")],
            )
        )
    return figure(charts, columns=2)


def _latencies(rows: list[dict[str, Any]], workload: str, arm: str, rate: float) -> list[tuple[float, float]]:
    points = []
    for rho in RHOS:
        found = [
            row["mean_latency_s"] for row in rows if (row["workload"], row["arm"], row["rho"]) == (workload, arm, rho)
        ]
        if found:
            points.append((rho * rate, 1e3 * statistics.fmean(found)))
    return points


def load_step_figure(result: dict[str, Any]) -> str | None:
    """Chosen length above, sequences below, over time."""
    step = result["load_step"]
    if not step:
        return None
    marks = [(phase["start_s"], f"load {phase['rho']:g}") for phase in step["phases"]]
    charts = [
        Chart(
            title=title,
            x_label="seconds",
            y_label=label,
            lines=[Line(points=[(point["at_s"], point[key]) for point in step["series"]], colour=colour)],
            marks=marks,
        )
        for title, label, key, colour in (
            (f"draft tokens verified per sequence and step, {step['workload']}", "tokens", "length", "#e6550d"),
            ("sequences that decode", "sequences", "num_seqs", "#3182bd"),
        )
    ]
    return figure(charts, columns=1, size=(860.0, 230.0))

"""Line charts as SVG text: enough for a figure in a README, without a plotting library."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

FONT = "font-family='Helvetica, Arial, sans-serif'"
INK, FAINT = "#24292f", "#d8dee4"
MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 58.0, 14.0, 46.0, 44.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One curve; points that are not finite are left out."""

    points: Sequence[tuple[float, float]]
    colour: str
    label: str = ""
    width: float = 1.6
    dash: str = ""  # SVG's stroke-dasharray
    dots: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Curves in one frame. ``marks`` are vertical lines with a text; ``x_names`` stand at x = 1, 2, … in place of numbers."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    log_y: bool = False
    marks: Sequence[tuple[float, str]] = ()
    x_names: Sequence[str] = ()


def figure(charts: Sequence[Chart], *, columns: int, size: tuple[float, float] = (430.0, 300.0)) -> str:
    """A grid of charts over one legend of all labels."""
    width, height = size
    num_rows = -(-len(charts) // columns)
    labelled = {line.label: line for chart in charts for line in chart.lines if line.label}
    total_width, legend_top = columns * width, num_rows * height
    legend, legend_height = _legend(list(labelled.values()), total_width, legend_top)
    total_height = legend_top + legend_height
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {total_width:g} {total_height:g}' "
        f"width='{total_width:g}' height='{total_height:g}' {FONT} font-size='12' fill='{INK}'>",
        f"<rect width='{total_width:g}' height='{total_height:g}' fill='white'/>",
    ]
    for index, chart in enumerate(charts):
        left, top = index % columns * width, index // columns * height
        parts += [f"<g transform='translate({left:g} {top:g})'>", *_chart(chart, width, height), "</g>"]
    return "\n".join([*parts, *legend, "</svg>", ""])


def _legend(lines: Sequence[Line], width: float, top: float) -> tuple[list[str], float]:
    parts: list[str] = []
    x, y = MARGIN_LEFT, top + 14.0
    for line in lines:
        needed = 44.0 + 7.0 * len(line.label)
        if x + needed > width:
            x, y = MARGIN_LEFT, y + 20.0
        parts.append(_path([(x, y), (x + 24.0, y)], line))
        parts.append(f"<text x='{x + 30.0:g}' y='{y + 4.0:g}'>{escape(line.label)}</text>")
        x += needed
    return parts, y + 16.0 - top if lines else 0.0


def _chart(chart: Chart, width: float, height: float) -> Iterator[str]:
    points = [point for line in chart.lines for point in line.points if _drawable(point, chart.log_y)]
    points += [(x, points[0][1]) for x, _ in chart.marks if points]
    points += [(float(x), points[0][1]) for x in range(1, len(chart.x_names) + 1) if points]
    yield f"<text x='{MARGIN_LEFT:g}' y='19' font-weight='bold'>{escape(chart.title)}</text>"
    if not points:
        return
    x_scale = _Scale([x for x, _ in points], MARGIN_LEFT, width - MARGIN_RIGHT)
    y_scale = _Scale([y for _, y in points], height - MARGIN_BOTTOM, MARGIN_TOP, log=chart.log_y)
    yield from _axes(chart, x_scale, y_scale, width, height)
    for x, text in chart.marks:
        at = x_scale(x)
        yield f"<path d='M{at:.1f} {MARGIN_TOP:g}V{height - MARGIN_BOTTOM:g}' stroke='{INK}' stroke-dasharray='2 3'/>"
        anchor = "end" if at > 0.7 * width else "start"
        yield f"<text x='{at:.1f}' y='{MARGIN_TOP - 5:g}' text-anchor='{anchor}' font-size='11'>{escape(text)}</text>"
    for line in chart.lines:
        placed = [(x_scale(x), y_scale(y)) for x, y in line.points if _drawable((x, y), chart.log_y)]
        yield _path(placed, line)
        if line.dots:
            yield from (f"<circle cx='{x:.1f}' cy='{y:.1f}' r='2.6' fill='{line.colour}'/>" for x, y in placed)


def _drawable(point: tuple[float, float], log_y: bool) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1]) and (point[1] > 0.0 or not log_y)


def _path(points: Sequence[tuple[float, float]], line: Line) -> str:
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dash = f" stroke-dasharray='{line.dash}'" if line.dash else ""
    return (
        f"<path d='M{steps}' fill='none' stroke='{line.colour}' stroke-width='{line.width:g}' "
        f"stroke-linejoin='round'{dash}/>"
        if points
        else ""
    )


def _axes(chart: Chart, x_scale: _Scale, y_scale: _Scale, width: float, height: float) -> Iterator[str]:
    bottom, right = height - MARGIN_BOTTOM, width - MARGIN_RIGHT
    for value in y_scale.ticks():
        y = y_scale(value)
        yield f"<path d='M{MARGIN_LEFT:g} {y:.1f}H{right:g}' stroke='{FAINT}'/>"
        yield f"<text x='{MARGIN_LEFT - 6:g}' y='{y + 4:.1f}' text-anchor='end' font-size='11'>{value:g}</text>"
    named: dict[float, str] = dict(enumerate(map(escape, chart.x_names), 1)) or {
        value: f"{value:g}" for value in x_scale.ticks()
    }
    for value, name in named.items():
        x = x_scale(value)
        yield f"<path d='M{x:.1f} {bottom:g}v4' stroke='{INK}'/>"
        yield f"<text x='{x:.1f}' y='{bottom + 17:g}' text-anchor='middle' font-size='11'>{name}</text>"
    yield f"<path d='M{MARGIN_LEFT:g} {MARGIN_TOP:g}V{bottom:g}H{right:g}' fill='none' stroke='{INK}'/>"
    centre = (MARGIN_LEFT + right) / 2
    yield f"<text x='{centre:g}' y='{height - 9:g}' text-anchor='middle'>{escape(chart.x_label)}</text>"
    middle = (MARGIN_TOP + bottom) / 2
    yield f"<text transform='translate(14 {middle:g}) rotate(-90)' text-anchor='middle'>{escape(chart.y_label)}</text>"


class _Scale:
    """Values to places along an axis."""

    def __init__(self, values: Sequence[float], start: float, end: float, *, log: bool = False) -> None:
        self._log = log
        low, high = min(values), max(values)
        if not log:
            low = min(0.0, low)
        low, high = self._turn(low), self._turn(high)
        pad = 0.04 * (high - low) or 0.5
        self._low, self._high = (low - pad if log else low), high + pad
        self._start, self._end = start, end

    def _turn(self, value: float) -> float:
        return math.log10(value) if self._log else value

    def __call__(self, value: float) -> float:
        share = (self._turn(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    def ticks(self) -> list[float]:
        """Round values within the axis."""
        if self._log:
            return [value for value in log_ticks(10**self._low, 10**self._high)]
        return linear_ticks(self._low, self._high)


def linear_ticks(low: float, high: float) -> list[float]:
    """At most seven multiples of 1, 2 or 5 times a power of ten.

    >>> linear_ticks(0.0, 1.15)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    power = 10.0 ** math.floor(math.log10(max(high - low, 1e-12)))
    step = next(step for step in (0.1 * power, 0.2 * power, 0.5 * power, power, 2 * power) if (high - low) / step <= 7)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, with 2 and 5 times them where there are few.

    >>> log_ticks(8.0, 130.0)
    [10.0, 20.0, 50.0, 100.0]
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1.0, 2.0, 5.0) if math.log10(high / low) <= 2.5 else (1.0,)
    ticks = [factor * 10.0**decade for decade in decades for factor in factors]
    return [tick for tick in ticks if low <= tick <= high]

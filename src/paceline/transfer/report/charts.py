"""Small charts as SVG inside a page, whose style sheet gives them their colours. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 440, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 20, 12, 38
_NUM_TICKS = 5
_NUM_BINS = 24
_CELL_WIDTH, _CELL_HEIGHT = 150, 64  # of one histogram


@dataclass(frozen=True, slots=True)
class Line:
    """One curve by its name and points; ``series`` 1, 2, … is its colour."""

    name: str
    points: Sequence[tuple[float, float]]
    series: int = 1
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis says, and whether its numbers are shares written in per cent."""

    label: str
    percent: bool = False
    from_zero: bool = False


def line_chart(lines: Sequence[Line], x: Axis, y: Axis) -> str:
    """Curves on common axes, their names in a legend below.

    >>> line_chart([Line("loss", [(1, 2.0), (2, 1.5)])], Axis("epoch"), Axis("loss"))[:18]
    '<figure><svg viewB'
    """
    points = [point for line in lines for point in line.points if all(map(math.isfinite, point))]
    across = _Scale([point[0] for point in points], x, _LEFT, _WIDTH - _RIGHT)
    up = _Scale([point[1] for point in points], y, _HEIGHT - _BOTTOM, _TOP)
    parts = [*_grid(across, up)]
    for line in lines:
        placed = [(across(a), up(b)) for a, b in line.points if math.isfinite(a) and math.isfinite(b)]
        path = "L".join(f"{a:.1f} {b:.1f}" for a, b in placed)
        if placed:
            parts.append(f'<path class="curve s{line.series}{" dashed" if line.dashed else ""}" d="M{path}"/>')
        parts += (f'<circle class="dot s{line.series}" cx="{a:.1f}" cy="{b:.1f}" r="2.4"/>' for a, b in placed)
    legend = "".join(
        f'<span class="key"><i class="s{line.series}{" dashed" if line.dashed else ""}"></i>{escape(line.name)}</span>'
        for line in lines
    )
    names = escape(", ".join(line.name for line in lines))
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{names} by {escape(x.label)}">'
        f"{''.join(parts)}</svg><figcaption>{legend}</figcaption></figure>"
    )


def histogram(values: Sequence[float], low: float, high: float, mark: float) -> str:
    """How ``values`` lie between ``low`` and ``high``, with a line at ``mark``. What lies outside is in the outermost bars."""
    counts = [0] * _NUM_BINS
    for value in values:
        counts[min(_NUM_BINS - 1, max(0, int((value - low) / (high - low) * _NUM_BINS)))] += 1
    width, tallest = _CELL_WIDTH / _NUM_BINS, max(*counts, 1)
    bars = "".join(
        f'<rect x="{place * width:.2f}" y="{_CELL_HEIGHT * (1 - count / tallest):.1f}" width="{width - 0.8:.2f}" '
        f'height="{_CELL_HEIGHT * count / tallest:.1f}"/>'
        for place, count in enumerate(counts)
        if count
    )
    at = _CELL_WIDTH * (mark - low) / (high - low)
    return (
        f'<svg class="histogram" viewBox="0 0 {_CELL_WIDTH} {_CELL_HEIGHT + 1}" preserveAspectRatio="none" role="img" '
        f'aria-label="{len(values)} values">{bars}<path class="mark" d="M{at:.1f} 0V{_CELL_HEIGHT}"/>'
        f'<path class="floor" d="M0 {_CELL_HEIGHT + 0.5}H{_CELL_WIDTH}"/></svg>'
    )


class _Scale:
    """Numbers to pixels between round ends."""

    def __init__(self, values: Sequence[float], axis: Axis, start: float, end: float) -> None:
        low, high = min(values, default=0.0), max(values, default=1.0)
        low = min(0.0, low) if axis.from_zero else low
        self.axis = axis
        self.step = _round_step((high - low or abs(high) or 1.0) / _NUM_TICKS)
        self.low = math.floor(low / self.step + 1e-9) * self.step
        self.high = max(math.ceil(high / self.step - 1e-9) * self.step, self.low + self.step)
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        return self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low)

    def ticks(self) -> Iterator[tuple[float, str]]:
        for place in range(round((self.high - self.low) / self.step) + 1):
            value = self.low + place * self.step
            text = f"{100 * value:.4g} %" if self.axis.percent else f"{value:.4g}"
            yield self(value), "0" if abs(value) < self.step / 2 and not self.axis.percent else text


def _grid(across: _Scale, up: _Scale) -> Iterator[str]:
    for at, text in up.ticks():
        yield f'<path class="gridline" d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}"/>'
        yield f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{text}</text>'
    for at, text in across.ticks():
        yield f'<path class="gridline" d="M{at:.1f} {_HEIGHT - _BOTTOM}v4"/>'
        yield f'<text x="{at:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{text}</text>'
    yield f'<text class="axis" x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 4}" text-anchor="middle">{escape(across.axis.label)}</text>'


def _round_step(least: float) -> float:
    """The next of 1, 2 or 5 times a power of ten.

    >>> _round_step(0.13), _round_step(3.0)
    (0.2, 5.0)
    """
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= least - 1e-12)

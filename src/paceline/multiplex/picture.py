"""One picture of the same arrivals under several ways to serve them: a self-contained SVG. Pure.

No scripts, no fonts from elsewhere, light or dark as the reader's system is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from paceline.clock import to_seconds
from paceline.multiplex.trace import LaunchRecord, Timeline, first_fit

_WIDTH, _MARGIN = 1040, 20  # pixels
_LANES = 64  # height of all lanes of an arm together
_MIN_LANE = 1.0
_MIN_OUTLINED = 4.0  # a thinner bar would be nothing but outline
_TITLE, _ARRIVALS, _MISSES, _GAP, _AXIS = 20, 14, 14, 22, 30  # heights
_MIN_TICK = 80  # pixels between ticks of the axis
_MIN_LABEL = 11  # pixels that a number inside a launch needs
_COLOURS = ("#2f7ed8", "#e08a1e", "#3a9d5d", "#a05fc0", "#1a9aa5", "#c4577e", "#8a8f2a", "#7b6f63")

_STYLE = """
text { font: 12px system-ui, sans-serif; } .page { fill: #ffffff; } .title { font-weight: 600; }
text { fill: #222222; } .quiet { fill: #666666; } .line { stroke: #cccccc; } .tick { stroke: #666666; }
.lanes { fill: #f3f3f3; } .request { stroke: #ffffff; stroke-width: .6; stroke-opacity: .55; }
.launch { stroke: #ffffff; stroke-width: .6; } .inside { fill: #ffffff; font-weight: 600; text-anchor: middle; }
.miss { stroke: #d01f1f; stroke-width: 1.6; fill: none; } .missed { fill: #b01818; }
@media (prefers-color-scheme: dark) {
.page { fill: #16181d; } text { fill: #e6e6e6; } .quiet { fill: #a0a0a0; } .line { stroke: #3a3d45; }
.tick { stroke: #a0a0a0; } .lanes { fill: #20232a; } .request, .launch { stroke: #16181d; } .inside { fill: #ffffff; }
.miss { stroke: #ff6b6b; } .missed { fill: #ff8080; }
}
"""


@dataclass(frozen=True, slots=True)
class Panel:
    """One way to serve the arrivals, and what became of them."""

    title: str
    timeline: Timeline


@dataclass(frozen=True, slots=True)
class _Scale:
    start: int
    end: int

    def x(self, at: int) -> float:
        share = (at - self.start) / max(1, self.end - self.start)
        return round(_MARGIN + share * (_WIDTH - 2 * _MARGIN), 1)


def picture(panels: Sequence[Panel]) -> str:
    """The SVG. Panels stand one above the other on one axis of time.

    Above each panel a tick for every arrival; in it a bar for every launch, coloured by family, divided by its requests; below
    it a cross where a deadline was missed.
    """
    launches = [launch for panel in panels for launch in panel.timeline.launches]
    requests = [record for panel in panels for record in panel.timeline.requests]
    start = min((record.arrival for record in requests), default=0)
    end = max([launch.until for launch in launches] + [record.finished for record in requests], default=1)
    scale = _Scale(start, end)
    families = sorted({launch.family for launch in launches})
    colours = {family: _COLOURS[place % len(_COLOURS)] for place, family in enumerate(families)}
    parts, top = list(_legend(colours)), 30
    for panel in panels:
        parts += _panel(panel, scale, colours, top)
        top += _TITLE + _ARRIVALS + _LANES + _MISSES + _GAP
    parts += _axis(scale, top)
    height = top + _AXIS
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img" aria-label="the same requests, served in {len(panels)} ways">\n<style>{_STYLE}</style>\n'
        f'<rect class="page" width="{_WIDTH}" height="{height}"/>\n'
        f"{chr(10).join(parts)}\n</svg>\n"
    )


def _legend(colours: dict[str, str]) -> Iterator[str]:
    x = _MARGIN
    for family, colour in colours.items():
        yield f'<rect x="{x}" y="8" width="12" height="12" rx="2" fill="{colour}"/>'
        yield f'<text x="{x + 17}" y="18">{escape(family[:24])}</text>'
        x += 35 + 7 * len(family[:24])
    yield f'<path class="miss" d="{_cross(x + 6, 14)}"/><text x="{x + 17}" y="18">deadline missed, or turned away</text>'


def _panel(panel: Panel, scale: _Scale, colours: dict[str, str], top: int) -> Iterator[str]:
    launches = sorted(panel.timeline.launches, key=lambda launch: launch.at)
    requests = list(panel.timeline.requests)
    missed = [record for record in requests if not record.in_time]
    yield f'<text x="{_MARGIN}" y="{top + 13}" class="title">{escape(panel.title)}</text>'
    yield (
        f'<text x="{_WIDTH - _MARGIN}" y="{top + 13}" text-anchor="end" class="{"missed" if missed else "quiet"}">'
        f"{len(requests) - len(missed)} of {len(requests)} in time, {len(launches)} launches</text>"
    )
    top += _TITLE
    arrivals = " ".join(f"M{scale.x(record.arrival)} {top + 3}v7" for record in requests)
    yield f'<path class="tick" d="{arrivals}"/>'
    top += _ARRIVALS
    yield f'<rect class="lanes" x="{_MARGIN}" y="{top}" width="{_WIDTH - 2 * _MARGIN}" height="{_LANES}"/>'
    lanes = list(first_fit([(launch.at, launch.until) for launch in launches]))
    height = max(_MIN_LANE, _LANES / (1 + max(lanes, default=0)))
    for launch, lane in zip(launches, lanes, strict=True):
        yield from _bar(
            launch, scale, colours[launch.family], round(top + min(lane * height, _LANES - height), 1), height
        )
    crosses = " ".join(_cross(scale.x(min(record.deadline, scale.end)), top + _LANES + 8) for record in missed)
    yield f'<path class="miss" d="{crosses}"/>'


def _bar(launch: LaunchRecord, scale: _Scale, colour: str, y: float, height: float) -> Iterator[str]:
    x, right = scale.x(launch.at), scale.x(launch.until)
    width = max(1.0, round(right - x, 1))
    num, thin = len(launch.members), height < _MIN_OUTLINED
    title = f"{launch.family}: {num} requests in {launch.num_slots} slots, {to_seconds(launch.until - launch.at) * 1e3:.3g} ms"
    yield (
        f'<rect class="{"thread" if thin else "launch"}" x="{x}" y="{y}" width="{width}" height="{round(height, 1)}" '
        f'fill="{colour}"><title>{escape(title)}</title></rect>'
    )
    if num > 1 and not thin:
        lines = " ".join(f"M{x} {round(y + place * height / num, 1)}h{width}" for place in range(1, num))
        yield f'<path class="request" d="{lines}"/>'
        if width >= _MIN_LABEL:
            yield f'<text class="inside" x="{round(x + width / 2, 1)}" y="{round(y + height / 2 + 4, 1)}">{num}</text>'


def _cross(x: float, y: float) -> str:
    return f"M{round(x - 3, 1)} {y - 3}l6 6m0 -6l-6 6"


def _axis(scale: _Scale, top: int) -> Iterator[str]:
    yield f'<path class="line" d="M{_MARGIN} {top}H{_WIDTH - _MARGIN}"/>'
    step = _tick(scale.end - scale.start)
    for at in range(0, scale.end - scale.start + 1, step):
        x = scale.x(scale.start + at)
        yield f'<path class="line" d="M{x} {top}v5"/>'
        yield f'<text class="quiet" x="{x}" y="{top + 18}" text-anchor="middle">{at / 1000:g} ms</text>'


def _tick(span: int) -> int:
    """Microseconds between ticks: 1, 2 or 5 times a power of ten, far enough apart to be read.

    >>> _tick(9_000), _tick(1_200_000)
    (1000, 100000)
    """
    least = span * _MIN_TICK / (_WIDTH - 2 * _MARGIN)
    power = 1
    while True:
        for step in (power, 2 * power, 5 * power):
            if step >= least:
                return step
        power *= 10

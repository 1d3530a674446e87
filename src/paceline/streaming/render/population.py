"""Fills a road with traffic, parked cars, people and street furniture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from paceline.streaming.frame import Floats
from paceline.streaming.render.actors import (
    BIN,
    BUS,
    CAR,
    POLE,
    RIDER,
    SIGN,
    SUV,
    TREE,
    TRUCK,
    VAN,
    WALKER,
    Actor,
    Actors,
)  # fmt: skip
from paceline.streaming.render.ego import BASE_HZ, Ego, lagging
from paceline.streaming.render.regime import Regime
from paceline.streaming.render.route import AHEAD, EASE, HALF_JUNCTION, KERB, LANE, PAVEMENT, Route, half_arc

MOVING: Final = ((CAR, 0.47), (SUV, 0.35), (VAN, 0.09), (TRUCK, 0.06), (BUS, 0.03))
STANDING: Final = ((CAR, 0.55), (SUV, 0.35), (VAN, 0.10))
SLOT: Final = 6.4  # metres of kerb one parked car takes
OURS, THEIRS, FREE = 1, 2, 3  # rows of the displacement; our own lane goes with us


def populate(rng: np.random.Generator, route: Route, ego: Ego, density: float) -> Actors:
    """``density`` scales all counts; 1 is usual."""
    displacement = _displacement(rng, route, ego)
    rows = [
        *_ahead(rng, route, density),
        *_lanes(rng, route, displacement, ego, density),
        *_kerb(rng, route, ego, density),
        *_pavement(rng, route, ego, density),
        *_crossing(rng, route, ego, density),
        *_straight_on(rng, route, ego, density),
        *_furniture(rng, route, ego),
    ]
    return Actors.of(rows, displacement, ego)


def _displacement(rng: np.random.Generator, route: Route, ego: Ego) -> Floats:
    """What stands, what goes with us, what comes towards us, what overtakes us; [4, T]."""
    regimes = [route.regimes[i] for i in route.section(ego.s)]
    flow = np.array([regime.flow for regime in regimes]) * rng.uniform(0.8, 1.2)
    held = np.where(ego.speed < 1.0, 0.25, 1.0) if rng.random() < 0.7 else np.ones(len(flow))
    theirs = np.cumsum(lagging(flow * held, 2.0, flow[0])) / BASE_HZ
    free = np.array([regime.flow if regime.name == "parked" else 0.0 for regime in regimes])
    pace = np.where(free > 0, free, ego.speed)
    drift = rng.normal(0.0, 0.12) * np.maximum(pace, 0.5)
    beside = np.cumsum(lagging(np.maximum(pace + drift, 0.0), 1.0, pace[0])) / BASE_HZ
    return np.stack([np.zeros(len(flow)), ego.s, -theirs, beside])


def _pick(rng: np.random.Generator, table: tuple[tuple[int, float], ...]) -> int:
    return int(table[int(np.searchsorted(np.cumsum([share for _, share in table]), rng.random() * 0.999))][0])


def _look(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 30))


def _ahead(rng: np.random.Generator, route: Route, density: float) -> Iterator[Actor]:
    """Those in our own lane keep their distance, so nobody runs into anybody."""
    if route.regimes[0].name == "parked":
        return
    gaps, s = rng.exponential(2.0 / density**0.5), 6.0
    while gaps < 14:
        kind = _pick(rng, MOVING)
        gaps += 1.0
        yield Actor(
            kind, s, rng.normal(0, 0.15), OURS, gaps=gaps, sway=0.8, look=_look(rng), scale=rng.uniform(0.95, 1.05)
        )
        gaps += rng.exponential(1.6 / density)
        s += 5.0 if kind in (TRUCK, BUS) else 1.0


def _lanes(rng: np.random.Generator, route: Route, displacement: Floats, ego: Ego, density: float) -> Iterator[Actor]:
    layout, regime = route.layout, route.regimes[0]
    beside = float(displacement[FREE][-1] - ego.s[-1])
    for lane in range(layout.lanes):
        if lane != layout.own:
            yield from _lane(rng, layout.ours(lane), FREE, -40 - max(beside, 0), 240 - min(beside, 0), regime, density)
    theirs = float(-displacement[THEIRS][-1])
    for lane in range(layout.oncoming):
        yield from _lane(rng, layout.theirs(lane), THEIRS, -20.0, ego.s[-1] + theirs + 240, regime, density)


def _lane(
    rng: np.random.Generator, d: float, row: int, start: float, end: float, regime: Regime, density: float
) -> Iterator[Actor]:
    s = start + rng.exponential(regime.spacing / density)
    while s < end:
        kind = _pick(rng, MOVING)
        turned = np.pi if row == THEIRS else 0.0
        yield Actor(kind, s, d + rng.normal(0, 0.2), row, sway=min(1.5, regime.spacing * 0.05), turned=turned,
                    look=_look(rng), scale=rng.uniform(0.95, 1.05))  # fmt: skip
        s += (14.0 if kind in (TRUCK, BUS) else 7.5) + rng.exponential(max(regime.spacing / density - 7.5, 1.5))


def _kerb(rng: np.random.Generator, route: Route, ego: Ego, density: float) -> Iterator[Actor]:
    """Parked cars, in clumps."""
    layout = route.layout
    for d, turned in ((layout.right - KERB / 2, 0.0), (layout.left + KERB / 2, np.pi)):
        places = np.arange(-20.0, ego.s[-1] + AHEAD * 0.75, SLOT)
        wanted = np.array([regime.parked for regime in route.regimes])[route.section(places)] * min(1.4, density**0.8)
        inside, _ = route.in_junction(places, 5.0)
        clump = np.convolve(rng.normal(size=len(places) + 4), np.ones(5) / 5**0.5, "valid")
        level = 0.5 * (1 + np.tanh(clump * 0.8))  # about uniform
        for s in places[(level < wanted) & ~inside & (np.abs(places) > (12 if d > 0 and d < 3 else 0))]:
            yield Actor(_pick(rng, STANDING), s + rng.normal(0, 0.3), d + rng.normal(0, 0.1), turned=turned,
                        look=_look(rng), scale=rng.uniform(0.94, 1.05))  # fmt: skip


def _pavement(rng: np.random.Generator, route: Route, ego: Ego, density: float) -> Iterator[Actor]:
    """Walkers alone and in groups, riders at the edge of the road."""
    layout, end = route.layout, ego.s[-1] + AHEAD * 0.7
    for s in np.arange(-10.0, end, 5.0):
        regime = route.regimes[int(route.section(np.array([s]))[0])]
        for side in (layout.left - 1.8, layout.right + 1.8):
            for _ in range(rng.poisson(regime.walkers * 0.05 * density * 0.62)):
                yield from _group(rng, s + rng.uniform(0, 5), side + np.sign(side) * rng.uniform(0, 2.5))
        if rng.random() < regime.cyclists * 0.05 * density:
            yield Actor(RIDER, s, layout.right - KERB - 0.3, along=rng.uniform(3.5, 6), look=_look(rng))
        if rng.random() < regime.cyclists * 0.05 * density:
            yield Actor(RIDER, s, layout.left + KERB + 0.3, along=-rng.uniform(3.5, 6), turned=np.pi, look=_look(rng))


def _group(rng: np.random.Generator, s: float, side: float) -> Iterator[Actor]:
    pace = 0.0 if rng.random() < 0.2 else float(rng.choice([-1, 1])) * rng.uniform(0.9, 1.6)
    for place in range(1 + rng.geometric(0.62) - 1):
        yield Actor(WALKER, s + place * rng.uniform(0.3, 0.9), side + rng.uniform(-1.1, 1.3), along=pace + rng.normal(0, 0.05),
                    turned=0.0 if pace >= 0 else np.pi, look=_look(rng), scale=rng.uniform(0.86, 1.1))  # fmt: skip


def _crossing(rng: np.random.Generator, route: Route, ego: Ego, density: float) -> Iterator[Actor]:
    """While we wait, others cross; otherwise they wait."""
    waits = {wait.junction: wait for wait in ego.waits}
    for junction, middle in enumerate(route.junctions):
        if middle > ego.s[-1] + 150:
            return
        wait = waits.get(junction)
        regime = route.regimes[int(route.section(np.array([middle]))[0])]
        for _ in range(rng.poisson(0.55 * regime.walkers * density)):
            yield _walker(rng, route, middle, None if wait is None else rng.uniform(wait.from_s - 3, wait.to_s - 4))
        busy = min(2.0, 30 / regime.spacing) * density
        for _ in range(rng.poisson(1.2 * busy)):
            yield _across(rng, route, middle, None)
        for _ in range(0 if wait is None else rng.poisson(0.35 * busy * (wait.to_s - wait.from_s) / 2)):
            assert wait is not None
            yield _across(rng, route, middle, rng.uniform(wait.from_s - 8, wait.to_s - 6))


def _walker(rng: np.random.Generator, route: Route, middle: float, since: float | None) -> Actor:
    """At the crosswalk before or behind the junction."""
    s = middle + (HALF_JUNCTION - 1.5) * (-1 if rng.random() < 0.7 else 1) + rng.normal(0, 0.6)
    way = float(rng.choice([-1, 1]))
    d = route.layout.left - 1.0 if way > 0 else route.layout.right + 1.0
    look, scale = _look(rng), rng.uniform(0.86, 1.1)
    if since is None:
        return Actor(WALKER, s, d, turned=way * np.pi / 2, look=look, scale=scale)
    return Actor(
        WALKER, s, d, across=way * rng.uniform(1.1, 1.7), since=since, turned=way * np.pi / 2, look=look, scale=scale
    )


def _across(rng: np.random.Generator, route: Route, middle: float, since: float | None) -> Actor:
    """A vehicle of the other road: waiting at its line, or driving through from `since` on."""
    way = float(rng.choice([-1, 1]))
    edge = route.layout.left - 3 if way > 0 else route.layout.right + 3
    s = middle + way * 0.5 * LANE + rng.normal(0, 0.2)
    kind, turned = _pick(rng, MOVING), way * np.pi / 2
    if since is None:
        return Actor(
            kind, s, edge - way * (PAVEMENT + 7.5 * int(rng.geometric(0.6) - 1)), turned=turned, look=_look(rng)
        )
    return Actor(kind, s, edge - way * 70, across=way * rng.uniform(7, 11), since=since, turned=turned, look=_look(rng))


def _straight_on(rng: np.random.Generator, route: Route, ego: Ego, density: float) -> Iterator[Actor]:
    """Where we turn, others stand on the road that goes straight on: a queue towards us, parked cars, people."""
    layout = route.layout
    for middle, turn in zip(route.junctions, route.turns, strict=True):
        if not turn or middle > ego.s[-1] + 100:
            continue
        s, near = middle - half_arc(turn) - EASE, 2 * half_arc(turn) / np.pi * 2 + HALF_JUNCTION + EASE
        regime = route.regimes[int(route.section(np.array([middle]))[0])]
        for lane in range(layout.oncoming):
            for place in range(rng.poisson(70 / regime.spacing * density)):
                yield Actor(
                    _pick(rng, MOVING),
                    s,
                    layout.theirs(lane),
                    ahead=near + 3 + 8.5 * place,
                    turned=np.pi,
                    look=_look(rng),
                )
        for d, turned in ((layout.right - KERB / 2, 0.0), (layout.left + KERB / 2, np.pi)):
            for place in np.flatnonzero(rng.random(11) < regime.parked * min(1.0, density)).tolist():
                yield Actor(_pick(rng, STANDING), s, d, ahead=near + 8 + SLOT * place, turned=turned, look=_look(rng))
        for side in (layout.left - 1.8, layout.right + 1.8):
            for _ in range(rng.poisson(0.5 * regime.walkers * density)):
                yield Actor(WALKER, s, side + rng.uniform(-1, 1), ahead=near + rng.uniform(0, 50), look=_look(rng))


def _furniture(rng: np.random.Generator, route: Route, ego: Ego) -> Iterator[Actor]:
    layout, s = route.layout, -10.0
    while s < ego.s[-1] + AHEAD * 0.75:
        s += rng.uniform(6, 22)
        right = rng.random() < 0.5
        d = layout.right + 0.7 if right else layout.left - 0.7
        if route.in_junction(np.array([s]), 2.0)[0][0]:
            continue
        kind = int(rng.choice([POLE, TREE, BIN, SIGN], p=[0.35, 0.35, 0.15, 0.15]))
        away = rng.uniform(1, 6) if kind == TREE and route.regimes[0].name == "highway" else 0.0
        yield Actor(kind, s, d + (away if right else -away), scale=rng.uniform(0.8, 1.2), look=_look(rng))

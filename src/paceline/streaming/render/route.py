"""The road of one log: sections of regimes, its bends and junctions, and where a point beside it lies in the world.

The road is a curve; a point is named by ``s``, metres along it, and ``d``, metres to its right. World axes: x to the right of the first
heading, z along it; a heading grows clockwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from paceline.streaming.frame import Floats, Ints
from paceline.streaming.render.regime import OPEN, REGIMES, Regime

BEHIND: Final = 60  # metres of road behind the start
AHEAD: Final = 320  # metres of road beyond the farthest the car may get
LANE: Final = 3.5
KERB: Final = 2.4  # width of the places to park at
PAVEMENT: Final = 3.4
HALF_JUNCTION: Final = 8.0
EASE: Final = 5.0  # metres over which the wheel is turned


@dataclass(frozen=True, slots=True)
class Layout:
    """The cross-section, the same along a log; we drive in lane ``own`` of ours, counted from the middle."""

    lanes: int
    oncoming: int
    own: int
    median: float

    @property
    def right(self) -> float:
        """Where the asphalt ends on our side."""
        return LANE * (self.lanes - self.own - 0.5) + KERB

    @property
    def left(self) -> float:
        return -LANE * (self.own + self.oncoming + 0.5) - self.median - KERB

    def ours(self, lane: int) -> float:
        return LANE * (lane - self.own)

    def theirs(self, lane: int) -> float:
        return -LANE * (self.own + 1 + lane) - self.median


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """Sections and junctions along ``s``, and the curve on a grid of one metre."""

    layout: Layout
    regimes: tuple[Regime, ...]
    borders: Floats  # [sections]: where each ends
    junctions: Floats  # [J]: their middles
    turns: Floats  # [J]: -1 left, 0 straight on, 1 right
    grid: Floats  # [G]
    x: Floats
    z: Floats
    heading: Floats
    curvature: Floats

    def section(self, s: Floats) -> Ints:
        return np.minimum(np.searchsorted(self.borders, s, side="right"), len(self.regimes) - 1)

    def place(self, s: Floats, d: Floats) -> tuple[Floats, Floats, Floats]:
        """World x, z and the road's heading."""
        heading = np.interp(s, self.grid, self.heading)
        x = np.interp(s, self.grid, self.x) + d * np.cos(heading)
        z = np.interp(s, self.grid, self.z) - d * np.sin(heading)
        return x, z, heading

    def in_junction(self, s: Floats, margin: float = 0.0) -> tuple[np.ndarray, Ints]:
        """Whether inside one, and which is nearest."""
        if not len(self.junctions):
            return np.zeros(np.shape(s), bool), np.zeros(np.shape(s), np.int64)
        place = np.clip(np.searchsorted(self.junctions, s), 1, max(1, len(self.junctions) - 1))
        place = np.minimum(place, len(self.junctions) - 1)
        before = np.maximum(place - 1, 0)
        nearest = np.where(np.abs(s - self.junctions[before]) < np.abs(s - self.junctions[place]), before, place)
        half = np.where(self.turns[nearest] == 0, HALF_JUNCTION, half_arc(-1.0) + 1.0)
        return np.abs(s - self.junctions[nearest]) < half + margin, nearest

    def setbacks(self, s: Floats) -> Floats:
        """How far behind the kerb the houses begin; `OPEN` where there are none, and in junctions."""
        behind = np.array([regime.setback for regime in self.regimes])[self.section(s)]
        inside, _ = self.in_junction(s, 1.0)
        return np.where(inside, OPEN, behind)


def lay(rng: np.random.Generator, names: Sequence[str], duration_s: float) -> Route:
    """A road long enough for the time, through the given regimes; the last goes on to the end."""
    regimes = tuple(REGIMES[name] for name in names)
    layout = _layout(rng, regimes[0])
    lengths = [max(20.0, rng.uniform(4, 13) * sum(regime.speed) / 2 * 0.8) for regime in regimes]
    fastest = max(max(regime.speed) for regime in regimes)
    lengths[-1] = max(lengths[-1], fastest * duration_s * 1.1 + AHEAD)
    borders = np.cumsum(np.array(lengths))
    junctions, turns = _junctions(rng, regimes, borders)
    grid = np.arange(-BEHIND, borders[-1] + AHEAD, 1.0)
    curvature = _bends(rng, regimes, borders, grid) + _curves(junctions, turns, grid)
    heading = np.cumsum(curvature)
    heading -= np.interp(0.0, grid, heading)
    x, z = np.cumsum(np.sin(heading)), np.cumsum(np.cos(heading))
    return Route(layout, regimes, borders, junctions, turns, grid, x, z, heading, curvature)


def _layout(rng: np.random.Generator, regime: Regime) -> Layout:
    lanes = int(rng.integers(regime.lanes[0], regime.lanes[1] + 1))
    oncoming = int(rng.integers(regime.oncoming[0], regime.oncoming[1] + 1))
    own = lanes - 1 if regime.name == "parked" else int(rng.integers(lanes))
    median = 5.0 if regime.name == "highway" else float(rng.choice([0.0, 0.0, 1.5]))
    return Layout(lanes, oncoming, own, median)


def _junctions(rng: np.random.Generator, regimes: Sequence[Regime], borders: Floats) -> tuple[Floats, Floats]:
    middles: list[float] = []
    turns: list[float] = []
    at = rng.uniform(15, 60)
    while at < borders[-1] - 60:
        regime = regimes[min(int(np.searchsorted(borders, at, side="right")), len(regimes) - 1)]
        if regime.junction_every < OPEN:
            middles.append(at)
            turns.append(float(rng.choice([-1, 1])) if rng.random() < regime.turns else 0.0)
        at += max(36.0, min(regime.junction_every, 90.0) * rng.uniform(0.7, 1.4))
    return np.array(middles), np.array(turns)


def _bends(rng: np.random.Generator, regimes: Sequence[Regime], borders: Floats, grid: Floats) -> Floats:
    """Smooth noise: values every 50 m, in between a cosine's way."""
    section = np.minimum(np.searchsorted(borders, grid, side="right"), len(regimes) - 1)
    scale = np.array([regime.bend for regime in regimes])[section]
    knots = np.arange(grid[0], grid[-1] + 50, 50.0)
    return np.asarray(np.interp(grid, knots, rng.normal(size=len(knots))) * scale)


def _curves(junctions: Floats, turns: Floats, grid: Floats) -> Floats:
    """A quarter circle at each junction that is turned at, eased in and out over a few metres."""
    result = np.zeros(len(grid))
    for middle, turn in zip(junctions, turns, strict=True):
        if turn:
            shape = np.clip((half_arc(turn) + EASE / 2 - np.abs(grid - middle)) / EASE, 0.0, 1.0)
            result += turn * (np.pi / 2) * shape / shape.sum()
    return result


def half_arc(turn: float) -> float:
    """Half the way through a turn: a left turn is wider."""
    return (9.5 if turn > 0 else 13.0) * np.pi / 4

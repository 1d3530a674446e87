"""Everything that stands or moves beside us, as arrays: where each is at any time follows from a few numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from paceline.streaming.frame import CLASSES, Floats, Ints
from paceline.streaming.render.ego import BASE_HZ, Ego
from paceline.streaming.render.route import Route

VEHICLE, PEDESTRIAN, CYCLIST = range(len(CLASSES))
CLUTTER: Final = -1  # seen, hides others, is nothing to find


class Kind(NamedTuple):
    name: str
    label: int  # index into CLASSES or CLUTTER
    size: tuple[float, float, float]  # length, width, height in m
    cabin: tuple[
        float, float, float
    ]  # front and rear end as shares of the length from the middle; width share of its roof
    belt: float  # share of the height where the cabin begins


KINDS: Final = (
    Kind("car", VEHICLE, (4.5, 1.82, 1.46), (0.17, -0.42, 0.74), 0.60),
    Kind("suv", VEHICLE, (4.8, 1.95, 1.78), (0.20, -0.48, 0.82), 0.58),
    Kind("van", VEHICLE, (5.6, 2.02, 2.35), (0.40, -0.49, 0.90), 0.50),
    Kind("truck", VEHICLE, (8.6, 2.5, 3.3), (0.28, -0.50, 1.0), 0.32),
    Kind("bus", VEHICLE, (11.6, 2.55, 3.1), (0.49, -0.49, 0.96), 0.40),
    Kind("walker", PEDESTRIAN, (0.5, 0.62, 1.72), (0, 0, 0), 0.0),
    Kind("rider", CYCLIST, (1.75, 0.62, 1.74), (0, 0, 0), 0.0),
    Kind("pole", CLUTTER, (0.2, 0.2, 6.0), (0, 0, 0), 0.0),
    Kind("tree", CLUTTER, (3.6, 3.6, 6.5), (0, 0, 0), 0.0),
    Kind("bin", CLUTTER, (0.6, 0.6, 1.1), (0, 0, 0), 0.0),
    Kind("sign", CLUTTER, (0.1, 0.8, 2.6), (0, 0, 0), 0.0),
)
CAR, SUV, VAN, TRUCK, BUS, WALKER, RIDER, POLE, TREE, BIN, SIGN = range(len(KINDS))
LABELS: Final = np.array([kind.label for kind in KINDS])
SIZES: Final = np.array([kind.size for kind in KINDS])


@dataclass(frozen=True, slots=True)
class Actor:
    """One row of `Actors`; the fields that most do not need are zero."""

    kind: int
    s: float
    d: float
    lane: int = 0  # row of the lanes' displacement; 0 stands still
    along: float = 0.0  # own speed along the road, m/s
    across: float = 0.0  # to the right, m/s, from `since` on
    since: float = 0.0
    ahead: float = 0.0  # m straight on from ``s``, where the road itself turns aside
    gaps: float = 0.0  # how many following distances ahead of us (those in our own lane)
    sway: float = 0.0  # m along the road
    turned: float = 0.0  # rad, against the road's heading
    scale: float = 1.0
    look: int = 0  # seeds its paint


@dataclass(frozen=True, slots=True, eq=False)
class Actors:
    """N actors and the L lanes' displacement [L, T] on the grid of 30 Hz."""

    kind: Ints
    size: Floats  # [N, 3]
    s: Floats
    d: Floats
    lane: Ints
    along: Floats
    across: Floats
    since: Floats
    ahead: Floats
    gaps: Floats
    sway: Floats
    turned: Floats
    look: Ints
    displacement: Floats  # [L, T]
    following: Floats  # [T]: our following distance

    @classmethod
    def of(cls, rows: list[Actor], displacement: Floats, ego: Ego) -> Actors:
        def column(name: str) -> Floats:
            return np.array([getattr(row, name) for row in rows], float)

        kind = column("kind").astype(np.int64)
        return cls(
            kind=kind, size=SIZES[kind] * column("scale")[:, None], s=column("s"), d=column("d"),
            lane=column("lane").astype(np.int64), along=column("along"), across=column("across"), since=column("since"),
            ahead=column("ahead"), gaps=column("gaps"), sway=column("sway"), turned=column("turned"), look=column("look").astype(np.int64),
            displacement=displacement, following=6.5 + 1.15 * ego.speed,
        )  # fmt: skip

    def roads(self, steps: Ints) -> tuple[Floats, Floats]:
        """``s`` and ``d`` of all at these steps of 30 Hz, [F, N] each."""
        time = (steps / BASE_HZ)[:, None]
        phase = (self.look % 628) / 100.0
        period = 5.0 + self.look % 7
        s = self.s + self.displacement[self.lane[None, :], steps[:, None]] + self.along * time
        s = s + self.gaps * self.following[steps][:, None] + self.sway * np.sin(2 * np.pi * time / period + phase)
        d = self.d + self.across * np.maximum(time - self.since, 0.0)
        return s, d

    def world(self, route: Route, steps: Ints) -> tuple[Floats, Floats, Floats]:
        """World x, z and heading, [F, N] each."""
        s, d = self.roads(steps)
        x, z, heading = route.place(s, d)
        return x + self.ahead * np.sin(heading), z + self.ahead * np.cos(heading), heading + self.turned

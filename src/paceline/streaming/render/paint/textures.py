"""Pictures of ground and houses seen from straight above or in front, made once a drive; one texel is packed into 32 bits.

Axes of the ground: metres along the road (repeating), then metres to the right of our lane.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paceline.streaming.frame import Floats
from paceline.streaming.render.route import HALF_JUNCTION, KERB, LANE, PAVEMENT, Layout

Packed: TypeAlias = NDArray[np.uint32]
PER_M: Final = 8  # texels of the ground
SIDE: Final = 512  # texels along and across: 64 m
HALF: Final = SIDE // PER_M / 2  # m
HOUSE_PER_M: Final = 5
HOUSE_LONG: Final = 80  # texels: 16 m, then it repeats
HOUSE_HIGH: Final = 110  # texels: 22 m
NUM_HOUSES: Final = 12


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """``texels`` is flat over [near or far, road or junction, along, across]."""

    texels: Packed


def pack(colours: Floats) -> Packed:
    """[..., 3] of 0..255 -> [...]"""
    bytes_ = np.full((*colours.shape[:-1], 4), 255, np.uint8)
    bytes_[..., :3] = np.clip(colours, 0, 255)
    return bytes_.view(np.uint32)[..., 0]


def ground(rng: np.random.Generator, layout: Layout, *, open_country: bool, wet: bool) -> Ground:
    along = (np.arange(SIDE) / PER_M)[:, None]
    d = (np.arange(SIDE) / PER_M - HALF)[None, :]
    asphalt = _asphalt(rng, wet)
    road = _marked(asphalt.copy(), along, d, layout)
    beside = _verge(rng, d) if open_country else _pavement(rng, along, d, layout)
    outside = np.broadcast_to((d > layout.right) | (d < layout.left), (SIDE, SIDE))
    road[outside] = beside[outside]
    levels: list[Packed] = []
    for picture in (road, _junction(asphalt, along - HALF, d, layout)):
        levels += [pack(picture), pack(_blurred(picture, 24, 3))]
    return Ground(np.stack([*levels[::2], *levels[1::2]]).reshape(-1))


def _asphalt(rng: np.random.Generator, wet: bool) -> Floats:
    grey = rng.uniform(70, 115) * (0.75 if wet else 1.0)
    fine = rng.normal(0, 5, (SIDE, SIDE))
    coarse = rng.normal(0, 5, (16, 32)).repeat(32, 0).repeat(16, 1)
    picture = grey + fine + _blurred(coarse[..., None], 16, 8)[..., 0]
    for _ in range(rng.integers(2, 7)):  # repairs
        at, across, long, wide = rng.integers(0, SIDE), rng.integers(120, 400), rng.integers(8, 60), rng.integers(6, 26)
        picture[at : at + long, across : across + wide] += rng.uniform(-22, 12)
    return np.asarray(picture[..., None] * rng.uniform(0.97, 1.03, 3))


def _marked(road: Floats, along: Floats, d: Floats, layout: Layout) -> Floats:
    """Lane lines: dashes between lanes, yellow in the middle, white at the kerb's places."""
    white, yellow = np.array([205, 205, 200]), np.array([200, 165, 60])
    dash = (along % 8) < 3
    for lane in range(1, layout.lanes):
        road[dash & (np.abs(d - layout.ours(lane) + LANE / 2) < 0.08)] = white
    for lane in range(1, layout.oncoming):
        road[dash & (np.abs(d - layout.theirs(lane) - LANE / 2) < 0.08)] = white
    middle = layout.ours(0) - LANE / 2
    whole = np.ones_like(along, bool)
    for at in (middle - 0.15, middle - layout.median + 0.15 - 0.3 * (layout.median == 0)):
        road[whole & (np.abs(d - at) < 0.08)] = yellow
    if layout.median > 3:
        road[whole & (d < middle - 0.6) & (d > middle - layout.median + 0.6)] = (88, 104, 62)
    for at in (layout.right - KERB, layout.left + KERB):
        road[whole & (np.abs(d - at) < 0.08)] = white
    return road


def _pavement(rng: np.random.Generator, along: Floats, d: Floats, layout: Layout) -> Floats:
    """Slabs with a kerbstone, then lawn or stone up to the houses."""
    base = rng.uniform(120, 165) + rng.normal(0, 5, (SIDE, SIDE))
    joint = ((along % 1.5) < 0.12) | ((d % 1.5) < 0.12)
    base = np.where(joint, base - 22, base)
    past = np.maximum(d - layout.right, layout.left - d)
    base = np.where(past < 0.35, base + 28, base)
    picture = base[..., None] * np.array([1.0, 0.98, 0.94])
    if rng.random() < 0.5:
        lawn = rng.normal(0, 9, (SIDE, SIDE, 1)) + np.array([78, 104, 55]) * rng.uniform(0.8, 1.15)
        picture = np.where((past > PAVEMENT)[..., None], lawn, picture)
    return np.asarray(picture)


def _verge(rng: np.random.Generator, d: Floats) -> Floats:
    tint = np.array([98, 110, 62]) * rng.uniform(0.8, 1.2, 3)
    return np.asarray(tint + rng.normal(0, 11, (SIDE, SIDE, 1)) + 6 * np.sin(d * 0.9)[..., None])


def _junction(asphalt: Floats, along: Floats, d: Floats, layout: Layout) -> Floats:
    """Bare asphalt with crosswalks before and behind; ``along`` is measured from its middle."""
    picture = asphalt.copy()
    stripes = (d % 1.2) < 0.6
    walk = (np.abs(np.abs(along) - HALF_JUNCTION + 1.6) < 1.3) & (d < layout.right) & (d > layout.left)
    picture[walk & stripes] = (200, 200, 196)
    line = (np.abs(along + HALF_JUNCTION - 0.1) < 0.2) & (d < layout.right) & (d > layout.ours(0) - LANE / 2)
    picture[line] = (205, 205, 200)
    return picture


def _blurred(picture: Floats, along: int, across: int) -> Floats:
    """Mean over this many texels, around the edge and on."""
    for axis, width in ((0, along), (1, across)):
        total = np.zeros_like(picture)
        for shift in range(width):
            total += np.roll(picture, shift - width // 2, axis)
        picture = total / width
    return picture


def houses(rng: np.random.Generator) -> Packed:
    """[NUM_HOUSES, HOUSE_LONG, HOUSE_HIGH]: fronts with windows; the ground floor is different."""
    along = np.arange(HOUSE_LONG)[:, None] / HOUSE_PER_M
    up = np.arange(HOUSE_HIGH)[None, :] / HOUSE_PER_M
    fronts = []
    for _ in range(NUM_HOUSES):
        wall = rng.uniform(75, 190) * rng.uniform(0.82, 1.1, 3) + rng.normal(0, 5, (HOUSE_LONG, HOUSE_HIGH, 1))
        pitch, storey = rng.choice([1.6, 2.0, 3.2, 4.0]), rng.uniform(2.9, 3.6)
        width, high = rng.uniform(0.4, 0.8) * pitch, rng.uniform(0.4, 0.65) * storey
        window = ((along % pitch) < width) & ((up % storey) > storey - high - 0.5) & ((up % storey) < storey - 0.5)
        glass = rng.uniform(35, 110) + 25 * rng.normal(size=(HOUSE_LONG, HOUSE_HIGH, 1)).round(0)
        front = np.where(window[..., None], glass * np.array([0.9, 1.0, 1.1]), wall)
        shop = rng.uniform(45, 150) * rng.uniform(0.75, 1.2, 3) if rng.random() < 0.5 else wall.mean((0, 1)) * 0.8
        front = np.where((up < 2.8)[..., None] & ((along % 5.3) < 4.4)[..., None], shop, front)
        fronts.append(pack(front))
    return np.stack(fronts)

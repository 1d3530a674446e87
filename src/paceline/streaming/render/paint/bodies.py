"""Vehicles as two boxes each, drawn face by face from the projected corners of `truth.outline`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from PIL import ImageDraw

from paceline.streaming.frame import Floats
from paceline.streaming.render.actors import BUS, TRUCK

FRONT, REAR, LEFT, RIGHT, TOP = (1, 3, 7, 5), (0, 2, 6, 4), (0, 1, 5, 4), (2, 3, 7, 6), (4, 5, 7, 6)
PAINTS: Final = (
    (225, 225, 222), (190, 192, 195), (140, 143, 148), (80, 83, 88), (38, 40, 44), (24, 25, 28), (150, 28, 32),
    (32, 58, 120), (60, 90, 140), (44, 84, 60), (170, 150, 118), (196, 120, 30), (110, 60, 50), (205, 180, 60),
)  # fmt: skip
GLASS: Final = (36, 44, 54)
TYRE: Final = (22, 22, 24)
DETAIL: Final = 13  # pixels of height from which wheels and lights are drawn

Colour = tuple[int, int, int]


class Lamp(NamedTuple):
    column: float
    row: float
    radius: float
    colour: Colour
    painted: Colour  # what was put at its place


def shade(colour: Sequence[float], light: float, haze: float) -> Colour:
    """Lighter or darker, then towards the colour of the air."""
    values = [min(255.0, c * light) * (1 - haze) + 185 * haze for c in colour]
    return int(values[0]), int(values[1]), int(values[2])


class Body(NamedTuple):
    """One vehicle in the picture: 16 corners, which faces one sees, its paint."""

    kind: int
    corners: list[tuple[float, float]]
    sides: tuple[tuple[int, ...], ...]  # of the faces seen, far ones first
    from_above: tuple[bool, bool]  # whether the belt and the roof are below the camera
    look: int
    haze: float
    height: float  # pixels


def sides_seen(size: Floats, x: float, z: float, heading: float) -> tuple[tuple[int, ...], ...]:
    """Which of the four upright faces look at the camera."""
    along = -(x * np.sin(heading) + z * np.cos(heading))
    across = -(x * np.cos(heading) - z * np.sin(heading))
    seen = [FRONT] if along > size[0] / 2 else [REAR] if along < -size[0] / 2 else []
    seen += [RIGHT] if across > size[1] / 2 else [LEFT] if across < -size[1] / 2 else []
    return tuple(seen)


def draw_body(draw: ImageDraw.ImageDraw, body: Body) -> list[Lamp]:
    """Draws it; returns its lamps for later, since they shine at night."""
    paint = PAINTS[body.look % len(PAINTS)]
    corners = body.corners
    draw.polygon([corners[i] for i in (0, 1, 3, 2)], fill=shade((26, 26, 28), 1, body.haze))
    for face in body.sides:
        light = 0.98 if face in (LEFT, RIGHT) else 0.78
        draw.polygon([corners[i] for i in face], fill=shade(paint, light, body.haze))
    if body.from_above[0]:
        draw.polygon([corners[i] for i in TOP], fill=shade(paint, 1.15, body.haze))
    _draw_cabin(draw, body, paint)
    return _details(draw, body) if body.height > DETAIL else []


def _draw_cabin(draw: ImageDraw.ImageDraw, body: Body, paint: Colour) -> None:
    cargo = PAINTS[(body.look // 16) % 4] if body.kind == TRUCK else None
    for face in body.sides:
        quad = [body.corners[8 + i] for i in face]
        light = 1.0 if face in (LEFT, RIGHT) else 0.8
        draw.polygon(quad, fill=shade(cargo or paint, light, body.haze))
        if cargo is None and body.height > 7:
            posts = 0.06 if face in (FRONT, REAR) or body.kind == BUS else 0.10
            _patch(draw, quad, (posts, 1 - posts), (0.10, 0.86), shade(GLASS, 1.0 + 0.5 * (face == FRONT), body.haze))
            if face in (LEFT, RIGHT):
                _pillars(draw, quad, body, paint)
    if body.from_above[1]:
        draw.polygon([body.corners[8 + i] for i in TOP], fill=shade(cargo or paint, 1.2, body.haze))


def _pillars(draw: ImageDraw.ImageDraw, quad: list[tuple[float, float]], body: Body, paint: Colour) -> None:
    places = np.arange(0.12, 1.0, 0.125) if body.kind == BUS else (0.48,)
    for at in places:
        _patch(draw, quad, (at, at + 0.04), (0.08, 0.9), shade(paint, 0.9, body.haze))


def _details(draw: ImageDraw.ImageDraw, body: Body) -> list[Lamp]:
    lamps: list[Lamp] = []
    for face in body.sides:
        quad = [body.corners[i] for i in face]
        if face in (LEFT, RIGHT):
            for at in (0.19, 0.81):
                _wheel(draw, quad, at, body)
            continue
        colour: Colour = (235, 230, 205) if face == FRONT else (170, 22, 20)
        _patch(draw, quad, (0.0, 1.0), (0.0, 0.18), shade((34, 34, 36), 1, body.haze))
        for low, high in ((0.03, 0.2), (0.8, 0.97)):
            painted = shade(colour, 1, body.haze)
            _patch(draw, quad, (low, high), (0.55, 0.82), painted)
            column, row = _inside(quad, (low + high) / 2, 0.68)
            lamps.append(Lamp(column, row, max(1.0, body.height * 0.045), colour, painted))
        if body.height > 30:
            _patch(draw, quad, (0.36, 0.64), (0.32, 0.52), shade((210, 210, 205), 0.9, body.haze))
    return lamps


def _wheel(draw: ImageDraw.ImageDraw, quad: list[tuple[float, float]], at: float, body: Body) -> None:
    column, row = _inside(quad, at, 0.30)
    left, right = _inside(quad, at - 0.075, 0.3)[0], _inside(quad, at + 0.075, 0.3)[0]
    bottom = _inside(quad, at, -0.02)[1]
    wide, high = max(abs(right - left) / 2, 0.6), max(bottom - row, 0.6)
    draw.ellipse((column - wide, row - high, column + wide, row + high), fill=shade(TYRE, 1, body.haze))
    if body.height > 34:
        draw.ellipse(
            (column - wide / 2, row - high / 2, column + wide / 2, row + high / 2),
            fill=shade((125, 125, 128), 1, body.haze),
        )


def _inside(quad: list[tuple[float, float]], u: float, v: float) -> tuple[float, float]:
    """The point at shares ``u`` along and ``v`` up of a face."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = quad
    low_x, low_y = ax + (bx - ax) * u, ay + (by - ay) * u
    high_x, high_y = dx + (cx - dx) * u, dy + (cy - dy) * u
    return low_x + (high_x - low_x) * v, low_y + (high_y - low_y) * v


def _patch(
    draw: ImageDraw.ImageDraw,
    quad: list[tuple[float, float]],
    us: tuple[float, float],
    vs: tuple[float, float],
    colour: Colour,
) -> None:
    draw.polygon(
        [_inside(quad, u, v) for u, v in ((us[0], vs[0]), (us[1], vs[0]), (us[1], vs[1]), (us[0], vs[1]))], fill=colour
    )

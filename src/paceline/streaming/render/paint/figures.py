"""Flat things that face the camera: people, riders, poles, trees, bins and signs, each within a box of pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

from PIL import ImageDraw

from paceline.streaming.render.actors import BIN, POLE, RIDER, SIGN, TREE, WALKER
from paceline.streaming.render.paint.bodies import PAINTS, TYRE, Colour, shade

SKINS: Final = ((224, 178, 148), (196, 146, 110), (140, 98, 70), (92, 64, 48))
CLOTHES: Final = (*PAINTS, (64, 66, 92), (88, 70, 60), (120, 40, 80), (40, 110, 120), (214, 96, 52), (90, 110, 60))


class Figure(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float
    look: int
    phase: float  # of its steps, rad
    aside: float  # how much one sees it from the side, 0..1
    haze: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    def at(self, u: float, v: float) -> tuple[float, float]:
        return self.left + self.width * u, self.top + self.height * v

    def colour(self, place: int) -> Colour:
        return shade(CLOTHES[(self.look >> (5 * place)) % len(CLOTHES)], 0.95, self.haze)

    @property
    def skin(self) -> Colour:
        return shade(SKINS[(self.look >> 3) % len(SKINS)], 0.95, self.haze)


def draw_walker(draw: ImageDraw.ImageDraw, figure: Figure) -> None:
    """Head, trunk, arms, and legs that swing."""
    swing = 0.38 * math.sin(figure.phase) * (0.35 + 0.65 * figure.aside)
    trousers, shirt = figure.colour(0), figure.colour(1)
    thick = max(1, round(figure.height * 0.075))
    for sign in (-1, 1):
        hip, foot = figure.at(0.5 + 0.07 * sign, 0.5), figure.at(0.5 + 0.1 * sign + sign * swing, 0.985)
        draw.line([hip, figure.at(0.5 + 0.09 * sign + sign * swing * 0.55, 0.75), foot], fill=trousers, width=thick)
    half = 0.33 - 0.08 * figure.aside
    draw.polygon(
        [figure.at(u, v) for u, v in ((0.5 - half, 0.19), (0.5 + half, 0.19), (0.68, 0.54), (0.32, 0.54))], fill=shirt
    )
    for sign in (-1, 1):
        hand = figure.at(0.5 + sign * (half + 0.06) - sign * swing * 0.6, 0.5)
        draw.line([figure.at(0.5 + sign * half * 0.9, 0.21), hand], fill=shirt, width=max(1, thick - 1))
    _head(draw, figure, 0.0)


def _head(draw: ImageDraw.ImageDraw, figure: Figure, lean: float) -> None:
    (x, y), radius = figure.at(0.5 + lean, 0.085), figure.height * 0.08
    draw.ellipse((x - radius * 0.85, y - radius, x + radius * 0.85, y + radius), fill=figure.skin)
    draw.pieslice((x - radius * 0.9, y - radius, x + radius * 0.9, y + radius * 0.8), 180, 360, fill=figure.colour(2))


def draw_rider(draw: ImageDraw.ImageDraw, figure: Figure) -> None:
    """Two wheels as far apart as the box is wide, and somebody above."""
    radius = figure.height * 0.19
    wide = radius * (0.15 + 0.85 * figure.aside)
    tyre, frame = shade(TYRE, 1.3, figure.haze), figure.colour(0)
    row, line = figure.bottom - radius, max(1, round(figure.height * 0.03))
    hubs = [figure.left + wide, figure.right - wide]
    for hub in hubs:
        draw.ellipse((hub - wide, row - radius, hub + wide, row + radius), outline=tyre, width=line)
    seat, bar = figure.at(0.42, 0.56), figure.at(0.68, 0.5)
    draw.line([(hubs[0], row), seat, bar, (hubs[1], row)], fill=frame, width=line)
    thick = max(1, round(figure.height * 0.075))
    knee = figure.at(0.56, 0.66 + 0.05 * math.sin(figure.phase * 2))
    draw.line([seat, knee, figure.at(0.5, 0.86)], fill=figure.colour(1), width=thick)
    body = max(2, round(figure.height * 0.15))
    draw.line([figure.at(0.43, 0.55), figure.at(0.52, 0.2)], fill=figure.colour(2), width=body)
    draw.line([figure.at(0.53, 0.27), figure.at(0.66, 0.47)], fill=figure.colour(2), width=max(1, thick - 1))
    _head(draw, figure, 0.04)


def draw_pole(draw: ImageDraw.ImageDraw, figure: Figure) -> None:
    x, _ = figure.at(0.5, 0)
    grey = shade((96, 98, 100), 1, figure.haze)
    draw.line([(x, figure.top), (x, figure.bottom)], fill=grey, width=max(1, round(figure.width * 0.8)))
    arm = figure.height * (0.2 if figure.look % 2 else -0.2)
    draw.line([(x, figure.top), (x + arm, figure.top)], fill=grey, width=max(1, round(figure.width * 0.5)))


def draw_tree(draw: ImageDraw.ImageDraw, figure: Figure) -> None:
    trunk = shade((82, 66, 52), 1, figure.haze)
    draw.line([figure.at(0.5, 0.5), figure.at(0.5, 1)], fill=trunk, width=max(1, round(figure.width * 0.07)))
    for place in range(7):
        angle = figure.look % 7 + place * 2.4
        x, y = figure.at(0.5 + 0.24 * math.cos(angle), 0.33 + 0.17 * math.sin(angle))
        wide, high = figure.width * 0.25, figure.height * 0.15
        green = shade((58, 92, 44), 0.75 + 0.08 * place, figure.haze)
        draw.ellipse((x - wide, y - high, x + wide, y + high), fill=green)


def draw_bin(draw: ImageDraw.ImageDraw, figure: Figure) -> None:
    draw.rectangle(
        (figure.left, figure.top, figure.right, figure.bottom), fill=shade(figure.colour(0), 0.6, figure.haze)
    )
    draw.rectangle((*figure.at(0, 0), *figure.at(1, 0.16)), fill=shade((60, 64, 62), 1, figure.haze))


def draw_sign(draw: ImageDraw.ImageDraw, figure: Figure) -> None:
    draw.line(
        [figure.at(0.5, 0.1), figure.at(0.5, 1)],
        fill=shade((110, 110, 112), 1, figure.haze),
        width=max(1, round(figure.width * 0.1)),
    )
    colour = ((190, 40, 36), (220, 200, 60), (40, 90, 160), (225, 225, 225))[figure.look % 4]
    box = (*figure.at(0.05, 0.0), *figure.at(0.95, 0.3))
    (draw.ellipse if figure.look % 3 else draw.rectangle)(box, fill=shade(colour, 0.95, figure.haze))


FIGURES: Final[dict[int, Callable[[ImageDraw.ImageDraw, Figure], None]]] = {
    WALKER: draw_walker, RIDER: draw_rider, POLE: draw_pole, TREE: draw_tree, BIN: draw_bin, SIGN: draw_sign,
}  # fmt: skip

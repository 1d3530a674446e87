"""Pictures of beetles whose kinds are nearly alike: three known factors decide the class, all else varies freely.

Nothing but the factors depends on the class: size, place, angle, build, legs, greys, blur and noise are drawn apart from it. So what a
channel can know about the class is what it sees of bands, spots and antennae.
"""

from __future__ import annotations

import itertools
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from paceline.transfer.embedded.jitter import PICTURE_SIZE, Grey

BANDS: Final = (2, 3, 4)  # across the wings
SPOTS: Final = (0.1, 0.2)  # radius, of the body's half length
ANTENNAE: Final = (20.0, 45.0)  # degrees off the body's axis
_WING: Final = 1.25  # length of the wings, of the body's half length
KINDS: Final = tuple(itertools.product(BANDS, SPOTS, ANTENNAE))
CLASSES: Final = tuple(
    f"{bands} bands, {'small' if spot == SPOTS[0] else 'large'} spots, {'narrow' if angle == ANTENNAE[0] else 'wide'} antennae"
    for bands, spot, angle in KINDS
)

_Field: TypeAlias = NDArray[np.floating[Any]]  # one value a pixel, [N, 64, 64]; or one a picture, [N, 1, 1]


def creatures(labels: NDArray[np.int64], generator: np.random.Generator) -> Grey:
    """One beetle of each class: [N] -> uint8 [N, 64, 64].

    >>> creatures(np.array([0, 11]), np.random.default_rng(0)).shape
    (2, 64, 64)
    """
    bands, spots, antennae = (_each(column) for column in np.array(KINDS)[labels].T)
    draw = _Draw(generator, len(labels))
    side, along, pixel = _own_coordinates(draw)
    width = draw(0.52, 0.66)
    body = _inside(1 - np.hypot(side / width, along), pixel / width)
    wings = _inside(_WING - 1 - along, pixel)
    turns = bands * (_WING - 1 - along) / _WING + draw(-0.1, 0.1)  # from the shoulders on
    stripes = 0.5 + 0.5 * np.tanh(3 * np.sin(2 * np.pi * turns))
    head = _inside(0.3 - np.hypot(side, along - 1.08), pixel)
    legs = _legs(np.abs(side), along, width, draw, pixel)
    feelers = _feelers(np.abs(side), along, np.radians(antennae), draw, pixel)
    spot = _inside(spots - np.hypot(np.abs(side) - width * 0.42, along - draw(0.46, 0.54)), pixel)
    ink = np.maximum.reduce([legs, feelers, 0.85 * head])
    shell = 0.7 - 0.6 * stripes * wings
    ink = ink * (1 - body) + shell * body
    return _finished(ink * (1 - spot * body) + spot * body, draw)


class _Draw:
    """Even random numbers, one a picture."""

    def __init__(self, generator: np.random.Generator, num: int) -> None:
        self.generator, self.num = generator, num

    def __call__(self, low: float, high: float) -> _Field:
        return _each(self.generator.uniform(low, high, self.num))


def _each(values: NDArray[np.float64]) -> _Field:
    return values.astype(np.float32)[:, None, None]


def _own_coordinates(draw: _Draw) -> tuple[_Field, _Field, _Field]:
    """Across and along the body in its half lengths, the middle at 0; and how much of that one pixel is."""
    y, x = np.mgrid[:PICTURE_SIZE, :PICTURE_SIZE].astype(np.float32)
    half = PICTURE_SIZE / 2
    angle, pixel = draw(-0.5, 0.5), 1 / draw(16, 20)
    dx, dy = x - half - draw(-4, 4), half + 3 - y - draw(-4, 4)
    return (dx * np.cos(angle) - dy * np.sin(angle)) * pixel, (dx * np.sin(angle) + dy * np.cos(angle)) * pixel, pixel


def _inside(distance: _Field, pixel: _Field) -> _Field:
    """1 inside, 0 outside, the edge one pixel soft. ``distance`` is positive inside."""
    result: _Field = np.clip(distance / pixel + 0.5, 0, 1)
    return result


def _line(
    side: _Field, along: _Field, start: tuple[_Field, _Field], end: tuple[_Field, _Field], half: float, pixel: _Field
) -> _Field:
    """A straight stroke."""
    run, rise = end[0] - start[0], end[1] - start[1]
    share = np.clip(((side - start[0]) * run + (along - start[1]) * rise) / (run * run + rise * rise), 0, 1)
    return _inside(half - np.hypot(side - start[0] - share * run, along - start[1] - share * rise), pixel)


def _legs(side: _Field, along: _Field, width: _Field, draw: _Draw, pixel: _Field) -> _Field:
    """Three on each side, their angle free."""
    parts = []
    for height in (0.55, 0.0, -0.55):
        reach, lift = draw(0.42, 0.6), draw(-0.3, 0.3)
        middle = np.full_like(reach, height)
        parts.append(
            _line(side, along, (width * 0.7, middle), (width + reach, middle + lift + height * 0.5), 0.045, pixel)
        )
    result: _Field = np.maximum.reduce(parts)
    return result


def _feelers(side: _Field, along: _Field, angle: _Field, draw: _Draw, pixel: _Field) -> _Field:
    """One on each side of the head."""
    length = draw(0.55, 0.7)
    start = (np.full_like(angle, 0.1), np.full_like(angle, 1.25))
    end = (start[0] + length * np.sin(angle), start[1] + length * np.cos(angle))
    return _line(side, along, start, end, 0.04, pixel)


def _finished(ink: _Field, draw: _Draw) -> Grey:
    """Ink in [0, 1] in greys of its own, blurred and noisy."""
    contrast = draw(0.45, 0.95)
    paper = draw(0, 1) * (1 - contrast)
    light = np.where(draw(0, 1) < 0.5, ink, 1 - ink)
    pictures = np.clip((paper + contrast * light) * 255, 0, 255).astype(np.uint8)
    blurs = draw.generator.uniform(0.2, 0.8, draw.num)
    soft = np.stack([_blurred(picture, float(blur)) for picture, blur in zip(pictures, blurs, strict=True)])
    noise = draw(0, 0.05) * 255 * draw.generator.standard_normal(soft.shape, np.float32)
    return np.clip(soft + noise + 0.5, 0, 255).astype(np.uint8)


def _blurred(picture: Grey, blur: float) -> Grey:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(blur)))

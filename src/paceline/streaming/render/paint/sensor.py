"""What the camera makes of the light: gain, headlights, blur of motion, rain, noise, compression."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from paceline.streaming.frame import Pixels, Size
from paceline.streaming.render.camera import HEIGHT, Camera
from paceline.streaming.render.paint.bodies import Lamp

EXPOSURE_S: Final = {"day": 0.004, "dusk": 0.010, "night": 0.020}
GAIN: Final = {"day": (1.0, 1.0, 1.0), "dusk": (0.62, 0.52, 0.50), "night": (0.16, 0.17, 0.21)}
NOISE: Final = {"day": 2.5, "dusk": 5.0, "night": 8.0}
LONGEST: Final = 13  # pixels of blur
TILE: Final = 256


class Sensor:
    """``exposure_s`` tells how much of a movement one picture holds."""

    def __init__(self, seed: int, light: str, rain: bool, size: Size) -> None:
        rng = np.random.default_rng([0x5E, seed])
        self.exposure_s = EXPOSURE_S[light]
        self._light, self._rain, self._size, self._seed = light, rain, size, seed
        bright = rng.uniform(0.82, 1.1) * (0.85 if rain else 1.0)
        table = np.arange(256)[None, :] * np.array(GAIN[light])[:, None] * bright
        self._table = (
            np.clip(table if light == "night" else table + (12 if rain else 0), 0, 255)
            .astype(np.uint8)
            .reshape(-1)
            .tolist()
        )
        self._beam = _beam(size) if light == "night" else None
        deviation = NOISE[light] * (1.2 if rain else 1.0)
        shape = (TILE + size[1], TILE + size[0])
        grey = rng.standard_normal((*shape, 1), np.float32) + 0.4 * rng.standard_normal((*shape, 3), np.float32)
        self._noise = (grey * deviation).round().astype(np.int8)

    def expose(self, picture: Image.Image, lamps: list[Lamp], sideways: float, step: int) -> Image.Image:
        """Light, lamps and blur; ``sideways`` is the whole picture's movement during the exposure, in pixels."""
        if self._beam is not None:
            pixels = np.asarray(picture)
            picture = Image.fromarray(((pixels.astype(np.uint16) * self._beam) >> 8).astype(np.uint8))
        else:
            picture = picture.point(self._table)
        draw = ImageDraw.Draw(picture, "RGBA")
        if self._light != "day":
            _shine(draw, lamps)
        if self._rain:
            self._streak(draw, step)
        if abs(sideways) >= 1.3:
            picture = Image.fromarray(smear(np.asarray(picture), sideways))
        return picture

    def read(self, pixels: Pixels, step: int) -> Pixels:
        """Noise; a tile of it laid elsewhere each time."""
        rng = np.random.default_rng([0x0F, self._seed, step])
        top, left = rng.integers(TILE, size=2)
        noise = self._noise[top : top + self._size[1], left : left + self._size[0]]
        total = pixels.astype(np.int16)
        total += noise
        np.clip(total, 0, 255, out=total)
        return total.astype(np.uint8)

    def _streak(self, draw: ImageDraw.ImageDraw, step: int) -> None:
        rng = np.random.default_rng([0x4A, self._seed, step])
        width, height = self._size
        starts = rng.uniform((-20, -20), (width, height), (width // 8, 2))
        falls = rng.uniform(0.015, 0.06, len(starts)) * height
        tint = (200, 205, 212, 70) if self._light == "day" else (150, 155, 165, 60)
        for (x, y), fall in zip(starts.tolist(), falls.tolist(), strict=True):
            draw.line([(x, y), (x - fall * 0.12, y + fall)], fill=tint)


def smear(pixels: Pixels, sideways: float) -> Pixels:
    """Mean of the picture at several places along a sideways movement."""
    length = int(min(LONGEST, max(2, round(abs(sideways)))))
    taps = min(length, 5)
    total = np.zeros(pixels.shape, np.uint16)
    for shift in np.linspace(-(length - 1) / 2, (length - 1) / 2, taps).round().astype(int):
        total += _shifted(pixels, int(shift))
    return (total // taps).astype(np.uint8)


def _shifted(pixels: Pixels, shift: int) -> Pixels:
    """Moved to the right by this many pixels; the border repeats."""
    result = np.empty_like(pixels)
    if shift > 0:
        result[:, shift:], result[:, :shift] = pixels[:, :-shift], pixels[:, :1]
    elif shift < 0:
        result[:, :shift], result[:, shift:] = pixels[:, -shift:], pixels[:, -1:]
    else:
        result[:] = pixels
    return result


def compress(pixels: Pixels, quality: int) -> Pixels:
    """Through JPEG and back."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def _beam(size: Size) -> NDArray[np.uint16]:
    """[H, W, 3]: how much of each place's light is left at night, in 256ths: our headlights on the road, little above it."""
    camera = Camera.looking(size, 0.0)
    rows, columns = np.arange(size[1]) + 0.5, np.arange(size[0]) + 0.5
    depth = camera.focal_y * HEIGHT / np.maximum(rows - camera.row, camera.focal_y * HEIGHT / 400)
    aside = (columns[None, :] - camera.column) / camera.focal_x
    reach = np.exp(-((np.maximum(depth - 12, 0) / 34) ** 1.3))[:, None]
    above = np.where(rows < camera.row, np.exp(-(((camera.row - rows) / (0.10 * size[1])) ** 2)) * 0.35, 1.0)[:, None]
    beam = np.maximum(reach, 0.25 * above) * above * np.exp(-((aside / 0.30) ** 2))
    gain = np.array(GAIN["night"])[None, None, :] + 0.62 * beam[..., None] * np.array([1.0, 0.97, 0.88])
    return np.asarray(np.clip(gain * 256, 0, 255)).astype(np.uint16)


def _shine(draw: ImageDraw.ImageDraw, lamps: list[Lamp]) -> None:
    for lamp in lamps:
        for grow, alpha in ((3.2, 50), (1.8, 110), (1.0, 255)):
            radius = lamp.radius * grow
            box = (lamp.column - radius, lamp.row - radius, lamp.column + radius, lamp.row + radius)
            draw.ellipse(box, fill=(*lamp.colour, alpha))

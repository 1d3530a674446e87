"""Pictures from clean glyphs: another size, place, angle, sharpness and contrast each time."""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

MASTER_SIZE: Final = 96  # pixels of a clean glyph's square; its em has MASTER_EM
MASTER_EM: Final = 64
PICTURE_SIZE: Final = 64

Grey: TypeAlias = NDArray[np.uint8]


class Jitter(msgspec.Struct, frozen=True, kw_only=True):
    """How far pictures of one glyph differ. Ranges are (least, most), drawn evenly."""

    scale: tuple[float, float] = (0.62, 0.95)  # of the em, which has 64 pixels
    shift: float = 5.0  # pixels, to each side
    angle: float = 8.0  # degrees, to each side
    blur: tuple[float, float] = (0.3, 1.1)  # standard deviation, pixels
    contrast: tuple[float, float] = (0.35, 0.95)  # between ink and paper, of the grey scale; either may be the darker
    noise: tuple[float, float] = (0.0, 0.05)  # standard deviation, of the grey scale


def jittered(masters: Grey, generator: np.random.Generator, jitter: Jitter = Jitter()) -> Grey:  # noqa: B008, frozen
    """One picture of each clean glyph: uint8 [N, 96, 96] -> [N, 64, 64].

    The same generator state gives the same pictures with the same release of Pillow.

    >>> glyph = np.zeros((1, MASTER_SIZE, MASTER_SIZE), np.uint8)
    >>> jittered(glyph, np.random.default_rng(0)).shape
    (1, 64, 64)
    """
    num = len(masters)
    scales = generator.uniform(*jitter.scale, num)
    angles = np.radians(generator.uniform(-jitter.angle, jitter.angle, num))
    shifts = generator.uniform(-jitter.shift, jitter.shift, (num, 2))
    blurs = generator.uniform(*jitter.blur, num)
    ink = np.empty((num, PICTURE_SIZE, PICTURE_SIZE), np.float32)
    for row in range(num):
        ink[row] = _moved(masters[row], scales[row], angles[row], shifts[row], blurs[row])
    return _toned(ink, generator, jitter)


def _moved(master: Grey, scale: float, angle: float, shift: NDArray[np.float64], blur: float) -> NDArray[np.uint8]:
    """The glyph in its new size, angle and place."""
    cosine, sine = math.cos(angle) / scale, math.sin(angle) / scale
    x, y = PICTURE_SIZE / 2 + shift
    middle = MASTER_SIZE / 2
    # Pillow asks where each pixel of the result comes from.
    inverse = (cosine, sine, middle - cosine * x - sine * y, -sine, cosine, middle + sine * x - cosine * y)
    size = (PICTURE_SIZE, PICTURE_SIZE)
    picture = Image.fromarray(master).transform(size, Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR)
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(float(blur))))


def _toned(ink: NDArray[np.float32], generator: np.random.Generator, jitter: Jitter) -> Grey:
    """Ink from 0 to 255 as grey levels on a paper of another grey. [N, H, W]"""
    num = len(ink)
    contrast = generator.uniform(*jitter.contrast, num)
    darker = generator.uniform(0, 1 - contrast)
    light_ink = generator.random(num) < 0.5
    paper = np.where(light_ink, darker, darker + contrast)
    step = np.where(light_ink, contrast, -contrast)
    picture = paper[:, None, None] + step[:, None, None] * (ink / 255)
    noise = generator.uniform(*jitter.noise, num).astype(np.float32)
    picture += noise[:, None, None] * generator.standard_normal(ink.shape, np.float32)
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)

"""Pictures for a page: small, and as PNG files in memory."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_SIDE: Final = 96  # pixels; with 64 colours a picture has at most about 8 kB
_NUM_COLOURS: Final = 64
_HEAT: Final = np.array([255.0, 96.0, 0.0])  # orange, seen on light and on dark


def png(image: NDArray[np.uint8]) -> bytes:
    """[C, H, W] of 1 or 3 channels -> a PNG file of at most ``MAX_SIDE`` pixels a side."""
    array = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
    picture = Image.fromarray(array)
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    if picture.mode == "RGB":
        picture = picture.quantize(_NUM_COLOURS)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def heated(image: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The picture in dimmed grey under orange heat: [C, H, W] and [H, W] in [0, 1] -> [3, H, W]."""
    grey = 0.25 + 0.5 * image.mean(0) / 255.0
    strength = 0.85 * heat[None]
    mixed = (1.0 - strength) * 255.0 * grey[None] + strength * _HEAT[:, None, None]
    pixels: NDArray[np.uint8] = mixed.clip(0.0, 255.0).astype(np.uint8)
    return pixels

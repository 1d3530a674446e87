"""Pictures for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from paceline.transfer.backbone.backbone import Preprocessing

GREY = Preprocessing(size=16, resize=16, mean=(0.5,), std=(0.5,))
COLOUR = Preprocessing(size=16, resize=16)


def noise(seed: int, side: int = 16) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8))


def draw(path: Path, seed: int = 0) -> Path:
    """Writes a picture, with the folders above it; the seed decides its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise(seed).save(path)
    return path

"""Folders of small pictures to learn from: one shape is a class, in any place, size and shade."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIZE = 40  # pixels
Box = tuple[float, float, float, float]


def _cross(draw: ImageDraw.ImageDraw, box: Box, fill: int) -> None:
    draw.line(box, fill, 3)
    draw.line((box[0], box[3], box[2], box[1]), fill, 3)


def _bars(draw: ImageDraw.ImageDraw, box: Box, fill: int) -> None:
    for x in np.linspace(box[0], box[2], 4):
        draw.line((x, box[1], x, box[3]), fill, 2)


SHAPES: dict[str, Callable[[ImageDraw.ImageDraw, Box, int], object]] = {
    "bars": _bars,
    "cross": _cross,
    "disc": lambda draw, box, fill: draw.ellipse(box, fill),
    "square": lambda draw, box, fill: draw.rectangle(box, None, fill, 3),
}


def picture(shape: str, generator: np.random.Generator) -> Image.Image:
    """Grey, SIZE x SIZE."""
    image = Image.new("L", (SIZE, SIZE), int(generator.integers(0, 90)))
    left, top = generator.uniform(2, 10, 2)
    side = generator.uniform(20, 27)
    SHAPES[shape](ImageDraw.Draw(image), (left, top, left + side, top + side), int(generator.integers(150, 255)))
    return image


def arrays(num_per_class: int = 6, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Pictures [N, SIZE, SIZE] and the names of their shapes."""
    generator = np.random.default_rng(seed)
    labels = [shape for shape in SHAPES for _ in range(num_per_class)]
    return np.stack([np.asarray(picture(shape, generator)) for shape in labels]), labels


def draw_folder(folder: Path, num_per_class: int = 6, seed: int = 0) -> Path:
    """A folder for each shape, with PNGs in it."""
    images, labels = arrays(num_per_class, seed)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / label / f"{number:03}.png")
    return folder

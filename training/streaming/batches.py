"""Pieces of rendered pictures, cut and scaled at random, with the boxes that lie in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from paceline.streaming.frame import Size, Truth
from training.streaming.pictures import SIZE, Example

HIDDEN: Final = 0.25  # objects of which less shows are neither asked for nor held against the net
TINY: Final = 2.5  # pixels of the scaled picture below which the same holds
CUT: Final = 0.3  # share of a box that must lie within the piece
TOUCHED: Final = 0.7  # share of the pieces that are laid over some object


class Batch(NamedTuple):
    pixels: Tensor  # uint8 [B, 3, H, W]
    boxes: Tensor  # [B, M, 4] in pixels of the piece
    classes: Tensor  # [B, M]
    state: Tensor  # [B, M]: 0 nothing, 1 an object, 2 ignored

    def to(self, device: str) -> Batch:
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


class Pieces:
    """Draws batches; ``scales`` are the shares of `SIZE` at which the net will see pictures."""

    def __init__(self, examples: Sequence[Example], scales: tuple[float, float], seed: int) -> None:
        self._examples, self._scales, self._seed = examples, scales, seed

    def batch(self, step: int, num: int, size: Size) -> Batch:
        """Of one step; the same step gives the same batch."""
        rng = np.random.default_rng([self._seed, step])
        pieces = [self._piece(rng, size) for _ in range(num)]
        most = max(1, *(len(boxes) for _, boxes, _, _ in pieces))
        boxes, classes, state = (
            np.zeros((num, most, 4), np.float32),
            np.zeros((num, most), int),
            np.zeros((num, most), int),
        )
        for row, (_, found, labels, states) in enumerate(pieces):
            boxes[row, : len(found)], classes[row, : len(found)], state[row, : len(found)] = found, labels, states
        pixels = np.stack([piece[0] for piece in pieces]).transpose(0, 3, 1, 2)
        return Batch(*(torch.from_numpy(np.ascontiguousarray(array)) for array in (pixels, boxes, classes, state)))

    def _piece(self, rng: np.random.Generator, size: Size) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        example = self._examples[int(rng.integers(len(self._examples)))]
        low = max(self._scales[0], size[0] / SIZE[0], size[1] / SIZE[1])
        scale = np.exp(rng.uniform(np.log(low), np.log(max(low, self._scales[1]))))
        wide = np.minimum(np.array(size) / scale * np.exp(rng.uniform(-0.06, 0.06, 2)), SIZE)
        corner = self._corner(rng, example.truth, wide)
        image = example.image(half=scale < 0.5)
        share = image.size[0] / SIZE[0]
        place = tuple((np.concatenate([corner, corner + wide]) * share).tolist())
        pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=place))
        boxes, states = _placed(example.truth, corner, wide, size)
        if rng.random() < 0.5:
            pixels, boxes[:, [0, 2]] = pixels[:, ::-1], size[0] - boxes[:, [2, 0]]
        kept = states > 0
        return _relit(rng, pixels), boxes[kept], example.truth.classes[kept], states[kept]

    def _corner(self, rng: np.random.Generator, truth: Truth, wide: np.ndarray) -> np.ndarray:
        room = SIZE - wide
        clear = np.flatnonzero(~truth.ignored)
        if not len(clear) or rng.random() > TOUCHED:
            return np.asarray(rng.uniform(0, 1, 2) * room)
        box = truth.boxes[rng.choice(clear)]
        middle = (box[:2] + box[2:]) / 2
        return np.asarray(np.clip(middle - wide * rng.uniform(0.15, 0.85, 2), 0, room))


def _placed(truth: Truth, corner: np.ndarray, wide: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Boxes in pixels of the piece, and what each is to the loss."""
    scale = np.tile(np.array(size) / wide, 2)
    whole = (truth.boxes - np.tile(corner, 2)) * scale
    boxes = np.clip(whole, 0, np.tile(size, 2))
    sides = boxes[:, 2:] - boxes[:, :2]
    inside = np.prod(sides, axis=1) / np.maximum(np.prod(whole[:, 2:] - whole[:, :2], axis=1), 1e-6)
    unclear = truth.ignored | (truth.visible < HIDDEN) | (sides.min(1, initial=1e9) < TINY) | (inside < CUT)
    return boxes, np.where((sides <= 0).any(1), 0, np.where(unclear, 2, 1))


def _relit(rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    """Brighter or darker, with more or less contrast."""
    table = (np.arange(256) - 110) * rng.uniform(0.8, 1.2) + 110 * rng.uniform(0.75, 1.25)
    return np.asarray(np.clip(table, 0, 255).astype(np.uint8)[pixels])

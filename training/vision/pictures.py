"""What the network is pre-trained on: a character in some face; the class is the character and the face's style."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paceline.transfer.embedded.jitter import Grey, jittered
from training.vision.choice import CHARACTERS, STYLES
from training.vision.fonts import Package, faces, require
from training.vision.render import render

CLASSES = tuple(f"{character} {style}" for character in CHARACTERS for style in STYLES)
HELD_OUT_EPOCH = 1_000_000  # its pictures are drawn from their own stream, which no training reaches


class Alphabets(NamedTuple):
    """Clean glyphs of every face, and each face's style."""

    masters: Grey  # [F, 62, 96, 96]
    styles: NDArray[np.int64]  # [F]


def read_alphabets(packages: Iterable[Package]) -> Alphabets:
    """All faces for pre-training, rendered once: 107 MB for 186 faces. ResourceError if one is not the pinned one."""
    packages = tuple(packages)
    masters = np.stack([render(path, CHARACTERS) for path in require(packages, "base")])
    return Alphabets(masters, np.array([STYLES.index(face.style) for face in faces(packages, "base")]))


class Batches:
    """The pictures of one epoch, new ones in each, drawn from (seed, epoch) alone.

    Faces and characters are drawn evenly and apart, so styles come as often as the fonts have them.
    """

    def __init__(self, alphabets: Alphabets, num_pictures: int, batch_size: int, seed: int, epoch: int) -> None:
        self._alphabets, self._sizes = alphabets, (num_pictures, batch_size)
        self._seed = (seed, epoch)

    def __len__(self) -> int:
        num, size = self._sizes
        return num // size

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        """Pictures in [-1, 1], [B, 1, 64, 64], and classes, [B]."""
        if not 0 <= place < len(self):
            raise IndexError(place)
        generator = np.random.default_rng((*self._seed, place))
        size = self._sizes[1]
        face = generator.integers(len(self._alphabets.styles), size=size)
        character = generator.integers(len(CHARACTERS), size=size)
        pictures = jittered(self._alphabets.masters[face, character], generator)
        labels = character * len(STYLES) + self._alphabets.styles[face]
        return to_input(pictures), torch.from_numpy(labels)


def to_input(pictures: Grey) -> Tensor:
    """uint8 [N, 64, 64] -> [N, 1, 64, 64] in [-1, 1]"""
    return torch.from_numpy(pictures)[:, None].float().div_(127.5).sub_(1)

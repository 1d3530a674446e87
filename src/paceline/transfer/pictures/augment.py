"""Random crops and mirror images of a batch, in one gather."""

from __future__ import annotations

from typing import Final, final

import torch
from torch import Tensor

from paceline.transfer.backbone.backbone import Preprocessing

SHIFT_SHARE: Final = 16  # without a margin, pictures move by up to 1/16 of their side


@final
class Augment:
    """Cuts a random square of the network's size out of each picture, and with ``flip`` mirrors every second one.

    The square moves within the margin that preprocessing leaves between ``resize`` and ``size``. Where it leaves none, it
    moves by up to a sixteenth of its side, and what lies outside is the picture reflected at its edge.
    """

    def __init__(self, preprocessing: Preprocessing, *, flip: bool = False) -> None:
        self._size = preprocessing.size
        self._flip = flip

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Draws from ``generator``, which stays where it is made: batches on any device vary alike.

        [B, C, R, R] uint8 -> [B, C, S, S] uint8
        """
        num_images, num_channels, height, width = images.shape
        rows = self._lines(height, num_images, generator)  # [B, S]
        columns = self._lines(width, num_images, generator)
        if self._flip:
            mirrored = torch.rand(num_images, 1, generator=generator) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        places = (rows[:, :, None] * width + columns[:, None, :]).view(num_images, 1, -1)  # [B, 1, S * S]
        places = places.to(images.device).expand(-1, num_channels, -1)
        return images.flatten(2).gather(2, places).view(num_images, num_channels, self._size, self._size)

    def _lines(self, side: int, num_images: int, generator: torch.Generator) -> Tensor:
        """Which rows, or columns, of ``side`` each picture keeps: [B, S]."""
        margin = side - self._size
        assert margin >= 0, "pictures are smaller than the network's input"
        reach = 0 if margin else self._size // SHIFT_SHARE
        first = torch.randint(-reach, margin + reach + 1, (num_images, 1), generator=generator)
        lines = (first + torch.arange(self._size)).abs()
        return (side - 1) - ((side - 1) - lines).abs()  # reflects at the far edge as abs() does at the near one

"""Pictures as they are, with their labels, for what reads a network and teaches it nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, final

import numpy as np
import torch
from torch import Tensor

from paceline.transfer.backbone.backbone import Preprocessing
from paceline.transfer.pictures.inputs import to_input

if TYPE_CHECKING:
    from paceline.transfer.pictures.pictures import Pictures

BATCH: int = 64


@final
class Labelled:
    """Inputs [B, C, S, S] and labels [B], as often as it is asked for them."""

    def __init__(self, pictures: Pictures, preprocessing: Preprocessing) -> None:
        self._pictures = pictures
        self._preprocessing = preprocessing

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self._pictures.images, self._pictures.labels
        for start in range(0, len(labels), BATCH):
            pixels = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH]))
            yield to_input(pixels, self._preprocessing), torch.from_numpy(labels[start : start + BATCH])

"""Batches for a network: augmented ones to learn from, plain ones to be judged by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.backbone import Preprocessing
from paceline.transfer.fit.numerics import Numerics
from paceline.transfer.fit.options import FitOptions
from paceline.transfer.pictures.augment import Augment
from paceline.transfer.pictures.inputs import to_input
from paceline.transfer.pictures.sampler import Position, Sampler

if TYPE_CHECKING:
    from paceline.transfer.pictures.pictures import Pictures

PLAIN_BATCH = 128  # pictures at once where nothing is learned

Batches: TypeAlias = Iterator[tuple[Tensor, Tensor]]  # inputs and labels [B]


class Feed(Protocol):
    """Where the batches of a training come from.

    What is random in a batch comes from the seed, its epoch and its place, so that a training which goes on in the middle of an
    epoch sees what it would have seen.
    """

    num_batches: int  # of an epoch
    num_held_out: int  # pictures

    def batches(self, epoch: int, first: int = 0) -> Batches:
        """Those of an epoch, from batch ``first`` on."""
        ...

    def held_out(self, rows: NDArray[np.int64] | None = None) -> Batches:
        """Validation pictures as they are; only ``rows`` if given."""
        ...

    def features(self, net: AdaptedNet, inputs: Tensor) -> Tensor:
        """Pooled, [B, F], of such inputs."""
        ...


@final
class PictureFeed:
    """Pictures in another order in each epoch, each augmented anew: inputs [B, C, S, S]."""

    def __init__(
        self,
        train: Pictures,
        val: Pictures,
        preprocessing: Preprocessing,
        options: FitOptions,
        numerics: Numerics,
    ) -> None:
        self.train, self.val = train, val
        self._preprocessing = preprocessing
        self._options = options
        self._numerics = numerics
        self._augment = Augment(preprocessing, flip=options.flip) if options.augment else None
        self.num_batches = -(-len(train) // options.batch_size)
        self.num_held_out = len(val)

    def batches(self, epoch: int, first: int = 0) -> Batches:
        for number, rows in self.rows(epoch, first):
            yield self.varied(rows, epoch, number), self.labels_of(self.train, rows)

    def held_out(self, rows: NDArray[np.int64] | None = None) -> Batches:
        rows = np.arange(len(self.val)) if rows is None else rows
        for start in range(0, len(rows), PLAIN_BATCH):
            some = rows[start : start + PLAIN_BATCH]
            yield self.plain_val(some), self.labels_of(self.val, some)

    def rows(self, epoch: int, first: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Numbers of an epoch's batches from ``first`` on, and the pictures in each."""
        size = self._options.batch_size
        position = Position(epoch, min(first * size, len(self.train)))
        return enumerate(Sampler(len(self.train), batch_size=size, seed=self._options.seed, position=position), first)

    def plain_val(self, rows: NDArray[np.int64]) -> Tensor:
        """Validation pictures as they are: [B, C, S, S]."""
        return plain(self.val, rows, self._preprocessing, self._numerics)

    def varied(self, rows: NDArray[np.int64], *key: int) -> Tensor:
        """Training pictures, augmented as ``key`` decides: [B, C, S, S]."""
        if self._augment is None:
            return plain(self.train, rows, self._preprocessing, self._numerics)
        images = self._augment(torch.from_numpy(self.train.images[rows]), _generator(self._options.seed, *key))
        return self._numerics.place(to_input(images, self._preprocessing))

    def features(self, net: AdaptedNet, inputs: Tensor) -> Tensor:
        return net.backbone(inputs)  # type: ignore[no-any-return]

    def labels_of(self, pictures: Pictures, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(pictures.labels[rows]).to(self._numerics.device)


def plain(pictures: Pictures, rows: NDArray[np.int64], preprocessing: Preprocessing, numerics: Numerics) -> Tensor:
    """Pictures as they are: [B, C, S, S]."""
    return numerics.place(to_input(torch.from_numpy(pictures.images[rows]), preprocessing))


def _generator(*key: int) -> torch.Generator:
    seed = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(seed) >> 1)  # of 63 bits

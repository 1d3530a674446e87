"""Batches of row numbers, each epoch in its own order; where it stands is two numbers that can be saved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ConfigError
from paceline.transfer.pictures.order import shuffled


class Position(NamedTuple):
    """``start`` pictures of epoch ``epoch`` have been handed out."""

    epoch: int = 0
    start: int = 0


START: Final = Position()


@final
class Sampler:
    """Iterating gives what is left of the current epoch, the last batch perhaps short, and then moves to the next epoch.

    ``position`` counts a batch as soon as it is handed out, so it is saved after the step that used it. The order depends
    on the seed and the epoch alone, the batches on the batch size too.

    >>> sampler = Sampler(5, batch_size=2, seed=0)
    >>> [len(rows) for rows in sampler], sampler.position
    ([2, 2, 1], Position(epoch=1, start=0))
    """

    def __init__(self, num_pictures: int, *, batch_size: int, seed: int, position: Position = START) -> None:
        if num_pictures < 1 or batch_size < 1:
            raise ConfigError(f"pictures and batch_size must be >= 1, got {num_pictures} and {batch_size}")
        if position.epoch < 0 or not 0 <= position.start <= num_pictures:
            raise ConfigError(
                f"position {tuple(position)} does not fit {num_pictures} pictures: they are not those of then"
            )
        self._num_pictures = num_pictures
        self._batch_size = batch_size
        self._seed = seed
        self.position = position

    @property
    def num_batches(self) -> int:
        """Batches of a whole epoch."""
        return -(-self._num_pictures // self._batch_size)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        epoch, start = self.position
        order = shuffled(self._num_pictures, self._seed, epoch)
        while start < self._num_pictures:
            rows = order[start : start + self._batch_size]
            start += len(rows)
            self.position = Position(epoch, start)
            yield rows
        self.position = Position(epoch + 1)

"""Where gates begin late: what the network does before them is computed once and kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.backbone import Preprocessing
from paceline.transfer.fit.feed import PLAIN_BATCH, Batches, Feed, PictureFeed
from paceline.transfer.fit.numerics import Numerics
from paceline.transfer.fit.options import FitOptions

if TYPE_CHECKING:
    from paceline.transfer.pictures.pictures import Pictures


def make_feed(
    net: AdaptedNet,
    train: Pictures,
    val: Pictures,
    preprocessing: Preprocessing,
    options: FitOptions,
    numerics: Numerics,
) -> Feed:
    """Of kept activations if there are any before the first gate and they fit into ``cache_mb``, else of pictures."""
    pictures = PictureFeed(train, val, preprocessing, options, numerics)
    num_views = options.cached_views if options.augment else min(1, options.cached_views)
    if not num_views or not net.first_stage:
        return pictures
    feed = PrefixFeed(pictures, net, num_views, numerics)
    return feed if feed.num_bytes <= options.cache_mb << 20 else pictures


@final
class PrefixFeed:
    """Activations [B, C, H, W] before the first gate, for a few augmentations of all pictures, taken in turn by the epochs.

    Each is computed when an epoch first asks for it, always in the same batches, so that a training which goes on finds the same.
    """

    def __init__(self, pictures: PictureFeed, net: AdaptedNet, num_views: int, numerics: Numerics) -> None:
        self._pictures = pictures
        self._net = net
        self._num_views = num_views
        self._numerics = numerics
        self._views: dict[int, Tensor] = {}  # [N, H, W, C] by number; -1: validation pictures
        self.num_batches = pictures.num_batches
        self.num_held_out = pictures.num_held_out
        one = self._prefix(pictures.plain_val(np.zeros(1, np.int64)))
        num_kept = num_views * len(pictures.train) + self.num_held_out
        self.num_bytes: Final = num_kept * one.numel() * one.element_size()

    def batches(self, epoch: int, first: int = 0) -> Batches:
        number = epoch % self._num_views
        kept = self._kept(
            number, len(self._pictures.train), lambda rows: self._pictures.varied(rows, number, int(rows[0]))
        )
        for _, rows in self._pictures.rows(epoch, first):
            yield self._taken(kept, rows), self._pictures.labels_of(self._pictures.train, rows)

    def held_out(self, rows: NDArray[np.int64] | None = None) -> Batches:
        kept = self._kept(-1, self.num_held_out, self._pictures.plain_val)
        rows = np.arange(self.num_held_out) if rows is None else rows
        for start in range(0, len(rows), PLAIN_BATCH):
            some = rows[start : start + PLAIN_BATCH]
            yield self._taken(kept, some), self._pictures.labels_of(self._pictures.val, some)

    def features(self, net: AdaptedNet, inputs: Tensor) -> Tensor:
        return net.backbone.pool(net.backbone.run(inputs, net.first_stage))

    def _kept(self, number: int, num_pictures: int, inputs: Callable[[NDArray[np.int64]], Tensor]) -> Tensor:
        if number not in self._views:
            parts = [
                self._prefix(inputs(np.arange(start, min(start + PLAIN_BATCH, num_pictures))))
                for start in range(0, num_pictures, PLAIN_BATCH)
            ]
            self._views[number] = torch.cat(parts)
        return self._views[number]

    def _prefix(self, inputs: Tensor) -> Tensor:
        """[B, C, S, S] -> [B, H, W, C]"""
        with torch.no_grad(), self._numerics.autocast():  # not inference mode: gates behind it learn from the result
            return self._net.prefix(inputs).permute(0, 2, 3, 1).contiguous()

    def _taken(self, kept: Tensor, rows: NDArray[np.int64]) -> Tensor:
        return kept[torch.from_numpy(rows).to(kept.device)].permute(0, 3, 1, 2)

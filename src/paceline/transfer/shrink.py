"""From an adapted network to a smaller one: fold, cut, heal, with the pictures that it was adapted to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from torch import nn

from paceline.transfer.batches import Labelled
from paceline.transfer.fit.feed import PictureFeed
from paceline.transfer.fit.numerics import Numerics
from paceline.transfer.fit.options import FitOptions
from paceline.transfer.fold import fold
from paceline.transfer.pictures.order import shuffled
from paceline.transfer.prune.cut import PruneOptions
from paceline.transfer.prune.gradual import prune_gradually
from paceline.transfer.prune.heal import HealOptions, heal

if TYPE_CHECKING:
    from paceline.transfer.adapted import AdaptedNet
    from paceline.transfer.backbone.backbone import Preprocessing
    from paceline.transfer.pictures.pictures import Pictures

NUM_JUDGED: Final = 1024  # pictures by which channels are judged; each step of a cut reads them twice


def shrunk(
    net: AdaptedNet,
    pictures: Pictures,
    preprocessing: Preprocessing,
    *,
    macs: float = 0.7,
    heal_epochs: int = 8,
    seed: int = 0,
) -> nn.Module:
    """A folded copy of ``net`` with ``macs`` of its multiplications, which has learned back on ``pictures``.

    What is cut far is cut in rounds, with ``heal_epochs`` after each.

    ConfigError for a share outside (0, 1) or a gate that cannot be folded, ExecutionError if so little cannot be reached.
    """

    def learn_back(small: nn.Module, whole: nn.Module) -> None:
        if heal_epochs:
            healed(small, whole, pictures, preprocessing, num_epochs=heal_epochs, seed=seed)

    some = pictures.take(shuffled(len(pictures), seed, 0)[:NUM_JUDGED])
    return prune_gradually(fold(net), Labelled(some, preprocessing), learn_back, PruneOptions(macs=macs)).eval()


def healed(
    small: nn.Module,
    whole: nn.Module,
    pictures: Pictures,
    preprocessing: Preprocessing,
    *,
    num_epochs: int = 8,
    seed: int = 0,
) -> None:
    """Lets a cut network learn back, in place, from pictures that vary anew each time."""
    feed = PictureFeed(pictures, pictures, preprocessing, FitOptions(seed=seed), Numerics())
    heal(small, whole, feed.batches, feed.num_batches, HealOptions(num_epochs=num_epochs))

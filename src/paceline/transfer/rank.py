"""Scores of all channels of a network by one criterion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from paceline.errors import ConfigError, ExecutionError
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.criteria import CRITERIA, Batches
from paceline.transfer.ranking import Ranking
from paceline.transfer.tap import evaluating

DEFAULT: Final = "taylor"


def rank(net: AdaptedNet, batches: Batches, criterion: str = DEFAULT, *, seed: int = 0) -> Ranking:
    """How much each channel of ``net`` matters for telling the classes of the labelled ``batches`` apart.

    ``seed`` is read by the criterion ``random`` alone. ConfigError for an unknown criterion, or when there are no pictures.

    >>> from paceline.transfer.backbone.backbone import build
    >>> net = AdaptedNet(build("glyphnet", num_inputs=1), num_classes=2)
    >>> ranking = rank(net, [(torch.rand(4, 1, 32, 32), torch.tensor([0, 1, 0, 1]))])
    >>> ranking.num_pictures, len(ranking), len(ranking.scores["conv1"])
    (4, 3856, 16)
    """
    counted = _Counted(batches)
    with evaluating(net):
        scores = CRITERIA[criterion](net, counted, torch.Generator().manual_seed(seed))
    units: dict[str, tuple[float, ...]] = {}
    for unit in net.backbone.units:
        score = scores[unit.name].detach().double()
        if not score.isfinite().all():
            raise ExecutionError(
                f"{criterion} of {unit.name} is not finite; the network or its pictures hold nan or infinity"
            )
        units[unit.name] = tuple(score.tolist())
    return Ranking(criterion=criterion, scores=units, num_pictures=counted.num_pictures)


class _Counted:
    """Batches, and how many pictures they have been."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.num_pictures = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for x, labels in self.batches:
            self.num_pictures += len(x)
            yield x, labels
        if not self.num_pictures:
            raise ConfigError("there is no picture to rank channels by")

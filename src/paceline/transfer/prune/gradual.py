"""Cutting far in rounds, with healing after each: far better than one deep cut, which leaves too little to heal from."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace
from torch import nn

from paceline.transfer.criteria import Batches
from paceline.transfer.prune.cost import num_macs
from paceline.transfer.prune.cut import Net, PruneOptions, prune

LEAST_OF_ROUND: Final = 0.7  # share of the multiplications that a round leaves, at least


def prune_gradually(net: Net, batches: Batches, heal: Callable[[Net, Net], None], options: PruneOptions) -> Net:
    """A copy of a folded ``net`` cut to ``options.macs`` in rounds, after each of which ``heal(pruned, net)`` trains it in place.

    ExecutionError if so little cannot be reached.
    """
    small = net
    for share in rounds(options.macs):
        small = prune_further(small, net, batches, replace(options, macs=share))
        heal(small, net)
    return small


def prune_further(small: Net, whole: nn.Module, batches: Batches, options: PruneOptions) -> Net:
    """A copy of ``small`` cut to ``options.macs`` of what ``whole`` costs; only a copy if it costs no more already."""
    example = next(iter(batches))[0]
    share = options.macs * num_macs(whole, example) / num_macs(small, example)
    return prune(small, batches, replace(options, macs=share)) if share < 1.0 else copy.deepcopy(small)


def rounds(macs: float) -> tuple[float, ...]:
    """Shares of the whole network after each round, in equal ratios.

    >>> rounds(0.7), [round(share, 3) for share in rounds(0.343)]
    ((0.7,), [0.7, 0.49, 0.343])
    """
    num = max(1, math.ceil(math.log(macs) / math.log(LEAST_OF_ROUND) - 1e-6))
    return tuple(macs ** (number / num) for number in range(1, num + 1))

"""Makes a folded network cheaper: cuts the channels that matter least for what they cost, a few at a time."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Final, Literal, TypeAlias, TypeVar

import msgspec
import torch
from torch import Tensor, nn

from paceline.errors import ConfigError, ExecutionError
from paceline.transfer.criteria import Batches
from paceline.transfer.prune.cost import LayerCost, layer_costs, layers
from paceline.transfer.prune.coupling import Coupling, Group
from paceline.transfer.prune.latency import seconds_saved
from paceline.transfer.prune.readers import absorb, mean_inputs, reader_gradients
from paceline.transfer.tap import evaluating

Net = TypeVar("Net", bound=nn.Module)
Price: TypeAlias = Literal["macs", "seconds"]
MIN_WIDTH: Final = 4  # channels that stay in every group, or all of it if it has fewer


class PruneOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How far to cut, and in how many steps; after each, what is left is measured anew."""

    macs: float = 0.7  # share of the multiplications that stays
    num_steps: int = 4
    round_to: int = 1  # widths end as multiples of this
    price: Price = (
        "macs"  # importance is divided by the multiplications that a channel costs, or by seconds measured here
    )

    def __post_init__(self) -> None:
        if not 0.0 < self.macs < 1.0:
            raise ConfigError(f"macs must be in (0, 1), the share of multiplications that stays, got {self.macs}")
        if self.num_steps < 1 or self.round_to < 1:
            raise ConfigError(f"num_steps and round_to must be >= 1, got {self.num_steps} and {self.round_to}")
        if self.price not in ("macs", "seconds"):
            raise ConfigError(f"price must be macs or seconds, got {self.price!r}")


def prune(net: Net, batches: Batches, options: PruneOptions) -> Net:
    """A smaller copy of a folded ``net``; labelled ``batches`` say what matters, and are read twice each step.

    Channels of the input and of the last layer (the classes) stay. ExecutionError if so little cannot be reached.
    """
    net = copy.deepcopy(net)
    example = next(iter(batches))[0]
    with evaluating(net):
        whole = sum(cost.macs for cost in layer_costs(net, example).values())
        for step in range(1, options.num_steps + 1):
            share = options.macs ** (step / options.num_steps)  # each step cuts the same share of what is left
            _step(net, batches, example, math.floor(share * whole), options)
    return net


def _step(net: nn.Module, batches: Batches, example: Tensor, max_macs: int, options: PruneOptions) -> None:
    costs = layer_costs(net, example)
    coupling = Coupling(net, example[:1], untouched=[layers(net)[list(costs)[-1]]])
    means = mean_inputs(net, batches)
    scores = group_scores(net, coupling.groups, batches, means)
    prices = {group: group.saved_macs(costs) for group in coupling.groups}
    if options.price == "seconds":
        prices = seconds_saved(net, coupling.groups, costs, num_rows=len(example))
    for group, channels in choose(scores, prices, costs, max_macs, options.round_to).items():
        for reader in group.readers:
            absorb(layers(net)[reader], means[reader], channels)
        coupling.cut(group, channels)


def group_scores(
    net: nn.Module, groups: tuple[Group, ...], batches: Batches, means: Mapping[str, Tensor]
) -> dict[Group, Tensor]:
    """Of each channel of each group, [width], the mean over pictures of how much the loss loses, to first order.

    What its readers lose is added up before it is made positive: they lose it together.
    """
    sums = {group: torch.zeros(group.width, dtype=torch.double) for group in groups}
    for gradients in reader_gradients(net, batches, means):
        for group in groups:
            lost = torch.stack([gradients[reader] for reader in group.readers]).sum(0)  # [B, width]
            sums[group] += lost.abs().sum(0)
    return sums


def choose(
    scores: Mapping[Group, Tensor],
    prices: Mapping[Group, float],
    costs: Mapping[str, LayerCost],
    max_macs: int,
    round_to: int = 1,
) -> dict[Group, list[int]]:
    """The channels to cut so that at most ``max_macs`` stay: those of the least score, [width] of each group, for their price.

    ExecutionError if all groups are as narrow as they may be before that.
    """
    groups = list(scores)
    left, chosen = dict(costs), {group: list[int]() for group in groups}
    for _, place, block in sorted(_blocks(scores, prices, round_to)):
        if sum(cost.macs for cost in left.values()) <= max_macs:
            break
        group = groups[place]
        if group.width - len(chosen[group]) - len(block) >= MIN_WIDTH:
            chosen[group] += block
            _narrow(left, group, len(block))
    if sum(cost.macs for cost in left.values()) > max_macs:
        raise ExecutionError(
            f"the network cannot be cut to {max_macs} multiplications: {MIN_WIDTH} channels stay in every layer"
        )
    return {group: channels for group, channels in chosen.items() if channels}


def _blocks(
    scores: Mapping[Group, Tensor], prices: Mapping[Group, float], round_to: int
) -> Iterator[tuple[float, int, list[int]]]:
    """Score for its price, place of the group, and channels that go at once: the least ones of what is left.

    A group's first block makes its width a multiple of ``round_to``, the others keep it one.
    """
    for place, group in enumerate(scores):
        channels = scores[group].argsort(stable=True).tolist()
        first = group.width % round_to or round_to
        for start, end in pairwise([0, *range(first, group.width + 1, round_to)]):
            block = channels[start:end]
            yield float(scores[group][block].mean()) / prices[group], place, block


def _narrow(costs: dict[str, LayerCost], group: Group, num: int) -> None:
    for name in group.writers:
        costs[name] = costs[name]._replace(num_out=costs[name].num_out - num)
    for name in group.readers:
        costs[name] = costs[name]._replace(num_in=costs[name].num_in - num)

"""Seconds of whole networks and of single layers, measured here: multiplications overstate what cutting saves."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from paceline.transfer.prune.cost import Layer, LayerCost, layers
from paceline.transfer.prune.coupling import Group

NUM_ROUNDS: Final = 15


def interleaved_s(nets: Mapping[str, nn.Module], example: Tensor, num_rounds: int = NUM_ROUNDS) -> dict[str, float]:
    """Median seconds of a forward pass of ``example`` [B, C, H, W] by each network.

    They take turns, so that a machine that is busy for a while is so for all of them.
    """
    with torch.no_grad():
        return _medians({name: lambda net=net: net(example) for name, net in nets.items()}, num_rounds)  # type: ignore[misc]


def seconds_saved(
    net: nn.Module,
    groups: tuple[Group, ...],
    costs: Mapping[str, LayerCost],
    num_rows: int,
    num_rounds: int = NUM_ROUNDS,
) -> dict[Group, float]:
    """Of one channel of each group, the seconds that it takes of a pass of ``num_rows`` rows.

    Every layer is timed whole and at half its outputs and half its inputs; the difference is divided by the channels that are missing.
    """
    per_channel = {name: _slopes(layer, costs[name], num_rows, num_rounds) for name, layer in layers(net).items()}
    return {
        group: sum(per_channel[name][0] for name in group.writers) + sum(per_channel[name][1] for name in group.readers)
        for group in groups
    }


def _slopes(layer: Layer, cost: LayerCost, num_rows: int, num_rounds: int) -> tuple[float, float]:
    """Seconds of one output channel and of one input channel, never less than a little of their fair share."""
    num_out, num_in = max(1, cost.num_out // 2), max(1, cost.num_in // 2)
    x = torch.zeros(num_rows, *cost.in_shape)
    weight = layer.weight.detach()
    runs = {
        "whole": _run(layer, x, weight),
        "outputs": _run(layer, x[:, :num_out] if cost.depthwise else x, weight[:num_out]),
        "inputs": _run(layer, x[:, :num_in], weight if cost.depthwise else weight[:, :num_in]),
    }
    if cost.depthwise:
        del runs["inputs"]
    with torch.no_grad():
        spent = _medians(runs, num_rounds)
    per_out = (spent["whole"] - spent["outputs"]) / max(1, cost.num_out - num_out)
    per_in = (spent["whole"] - spent.get("inputs", spent["whole"])) / max(1, cost.num_in - num_in)
    # A layer too narrow to be timed apart must not look free: its channels would never be cut, or divide by 0.
    return max(per_out, 0.1 * spent["whole"] / cost.num_out), max(per_in, 0.1 * spent["whole"] / cost.num_in)


def _run(layer: Layer, x: Tensor, weight: Tensor) -> Callable[[], Tensor]:
    x, weight = x.contiguous(), weight.contiguous()
    if isinstance(layer, nn.Linear):
        return lambda: functional.linear(x, weight)
    groups = len(weight) if layer.groups > 1 else 1
    return lambda: functional.conv2d(x, weight, None, layer.stride, layer.padding, layer.dilation, groups)


def _medians(runs: Mapping[str, Callable[[], Tensor]], num_rounds: int) -> dict[str, float]:
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(num_rounds + 1):
        for name in sorted(runs, reverse=bool(round_ % 2)):  # none of them is always the first
            run = runs[name]
            start = time.perf_counter()
            run()
            if round_:  # the first one warms up
                spent[name].append(time.perf_counter() - start)
    return {name: median(times) for name, times in spent.items()}

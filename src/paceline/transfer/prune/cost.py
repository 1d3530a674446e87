"""What each layer of a folded network costs in multiplications, from its widths."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

Layer: TypeAlias = nn.Conv2d | nn.Linear


class LayerCost(NamedTuple):
    """One convolution or linear layer, for one picture of one size."""

    num_in: int
    num_out: int
    macs_per_pair: int  # of an input and an output channel: kernel area x output places
    depthwise: bool
    in_shape: tuple[int, ...]  # without the batch

    @property
    def macs(self) -> int:
        pairs = self.num_out if self.depthwise else self.num_in * self.num_out
        return pairs * self.macs_per_pair


def layer_costs(net: nn.Module, example: Tensor) -> dict[str, LayerCost]:
    """Costs by the layers' names, in the order in which they run, for one row of ``example`` [B, C, H, W]."""
    costs: dict[str, LayerCost] = {}
    hooks = []
    for name, layer in layers(net).items():

        def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, name: str = name) -> None:
            assert isinstance(module, nn.Conv2d | nn.Linear)
            costs[name] = _cost(module, inputs[0], output)

        hooks.append(layer.register_forward_hook(note))
    try:
        with torch.no_grad():
            net(example[:1])
    finally:
        for hook in hooks:
            hook.remove()
    return costs


def layers(net: nn.Module) -> dict[str, Layer]:
    return {name: module for name, module in net.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}


def num_macs(net: nn.Module, example: Tensor) -> int:
    """Multiplications and additions, counted as one, for one row of ``example``.

    >>> num_macs(nn.Conv2d(1, 4, 3, padding=1), torch.zeros(1, 1, 8, 8))
    2304
    """
    return sum(cost.macs for cost in layer_costs(net, example).values())


def num_parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def _cost(layer: Layer, x: Tensor, y: Tensor) -> LayerCost:
    num_out = y.shape[1]
    places = y[0, 0].numel()
    if isinstance(layer, nn.Linear):
        return LayerCost(layer.in_features, num_out, places, False, tuple(x.shape[1:]))
    area = layer.kernel_size[0] * layer.kernel_size[1]
    return LayerCost(layer.in_channels, num_out, area * places, layer.groups > 1, tuple(x.shape[1:]))

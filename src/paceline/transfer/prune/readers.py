"""What layers read: mean inputs, what a channel's variation is worth, and absorbing what is constant.

A channel that is cut is not replaced by silence but by its mean: for each layer that reads it, the mean over pictures of that input,
[C, H, W], goes through the layer's own kernel, and the mean over places of what comes out is added to the bias. Of all constants that
one is the nearest, by squares. It is exact where the channel is constant and the kernel is not padded (a 1 x 1 convolution, the head).
Where it is padded, a constant channel is not quite constant for the kernel, since zeros surround it: the layer's output is then off by
at most the channel's value times the sum of |w| over the taps that fall on the border.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from paceline.transfer.criteria import Batches
from paceline.transfer.prune.cost import Layer, layers

Inputs: TypeAlias = dict[str, Tensor]  # layer -> [C, H, W], or [C] of a linear one


def mean_inputs(net: nn.Module, batches: Batches) -> Inputs:
    """What each layer reads, on average over pictures."""
    sums: Inputs = {}
    num = 0

    def add(name: str, x: Tensor) -> Tensor:
        total = x.sum(0)
        sums[name] = sums[name] + total if name in sums else total
        return x

    with torch.no_grad(), reading(net, add):
        for x, _ in batches:
            net(x)
            num += len(x)
    return {name: total / num for name, total in sums.items()}


def reader_gradients(net: nn.Module, batches: Batches, means: Mapping[str, Tensor]) -> Iterator[Inputs]:
    """dL/dm of each picture, layer and input channel, where the layer reads mean + m * (x - mean), at m = 1: layer -> [B, C].

    To first order this is what a picture's loss loses when m becomes 0, which is what cutting and absorbing does.
    """
    gates: dict[str, Tensor] = {}

    def change(name: str, x: Tensor) -> Tensor:
        gate = gates[name] = torch.ones(x.shape[:2], dtype=x.dtype, device=x.device, requires_grad=True)  # [B, C]
        mean = means[name]
        return mean + gate.reshape(*gate.shape, *[1] * (x.ndim - 2)) * (x - mean)

    with torch.enable_grad(), reading(net, change):
        for x, labels in batches:
            loss = functional.cross_entropy(net(x), labels, reduction="sum")
            yield dict(zip(gates, torch.autograd.grad(loss, list(gates.values())), strict=True))


def absorb(layer: Layer, mean: Tensor, channels: Sequence[int]) -> None:
    """Adds to the layer's bias what these input channels say on average. They can then be cut."""
    chosen = torch.tensor(list(channels))
    assert layer.bias is not None  # folded
    with torch.no_grad():
        kernel, said = layer.weight[:, chosen], mean[chosen]
        if isinstance(layer, nn.Linear):
            layer.bias.add_(kernel @ said)
        else:
            maps = functional.conv2d(said[None], kernel, None, layer.stride, layer.padding, layer.dilation)
            layer.bias.add_(maps[0].mean((1, 2)))


@contextmanager
def reading(net: nn.Module, change: Callable[[str, Tensor], Tensor]) -> Iterator[None]:
    """What each layer reads goes through ``change`` first; no hook is left behind."""
    hooks = []
    for name, layer in layers(net).items():

        def before(module: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> Tensor:
            return change(name, inputs[0])

        hooks.append(layer.register_forward_pre_hook(before))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

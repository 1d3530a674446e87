"""Ways to say how much a channel matters. A new one is a function here and a line in the registry.

All but the two baselines see a gate m = 1 at the output y of each unit, y' = m * y, which has the gradient sum(y * dL/dy). So they
mean the same for every kind of gate, and for none, and they speak of what masking and cutting do: m becomes 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from paceline.errors import ConfigError
from paceline.registry import Registry
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.unit import Unit
from paceline.transfer.gates.gate import Gate
from paceline.transfer.tap import Change, gate_of, tapped

Batches: TypeAlias = Iterable[tuple[Tensor, Tensor]]  # inputs [B, C, H, W] and labels [B]
Scores: TypeAlias = dict[str, Tensor]  # unit -> [O]
Criterion: TypeAlias = Callable[[AdaptedNet, Batches, torch.Generator], Scores]

CRITERIA: Final[Registry[Criterion]] = Registry("criterion")


def magnitude(net: AdaptedNet, batches: Batches, generator: torch.Generator) -> Scores:
    """|s| of the gate itself. ConfigError if no gate multiplies channels: every score would be 1."""
    scales = {unit.name: _scale(unit) for unit in net.backbone.units}
    if all(scale is None for scale in scales.values()):
        kind = "no gates" if net.gate is None else f"gates {net.gate!r}, which multiply no channel"
        raise ConfigError(f"the network has {kind}, so there is no magnitude to rank by; use 'taylor' or 'gamma'")
    # Before `from_stage` nothing is gated: 1, where every gate began.
    ones = {unit.name: torch.ones(unit.conv.out_channels) for unit in net.backbone.units}
    return {name: ones[name] if scale is None else scale.abs() for name, scale in scales.items()}


def gamma(net: AdaptedNet, batches: Batches, generator: torch.Generator) -> Scores:
    """|s * gamma|, gamma the norm's weight (Liu et al., 2017, Network Slimming, arXiv 1708.06519); s is 1 without a gate."""
    scores: Scores = {}
    for unit in net.backbone.units:
        scale = _scale(unit)
        assert not isinstance(unit.norm, nn.Identity)  # only folded networks have that
        scores[unit.name] = (unit.norm.weight if scale is None else scale * unit.norm.weight).abs()
    return scores


def activation(net: AdaptedNet, batches: Batches, generator: torch.Generator) -> Scores:
    """Mean over pictures and places of what is left of the output behind a ReLU."""
    sums: Scores = {}
    num = 0
    with torch.no_grad(), tapped(net.backbone, {unit.name: _adder(unit.name, sums) for unit in net.backbone.units}):
        for x, _ in batches:
            net(x)
            num += len(x)
    return {name: total / num for name, total in sums.items()}


def taylor(net: AdaptedNet, batches: Batches, generator: torch.Generator) -> Scores:
    """Mean over pictures of |m * dL/dm| (Molchanov et al., 2019, arXiv 1906.10771): the change of a picture's loss, to first order."""
    return _mean_of(net, batches, torch.abs)


def fisher(net: AdaptedNet, batches: Batches, generator: torch.Generator) -> Scores:
    """Mean over pictures of (dL/dm)^2 / 2 (Theis et al., 2018, arXiv 1801.05787): the change of the loss, to second order."""
    return _mean_of(net, batches, lambda gradient: gradient.square() / 2)


def weight_l1(net: AdaptedNet, batches: Batches, generator: torch.Generator) -> Scores:
    """Sum of |w| of each filter (Li et al., 2017, arXiv 1608.08710). A baseline: it knows neither pictures nor gates."""
    return {unit.name: unit.conv.weight.abs().sum((1, 2, 3)) for unit in net.backbone.units}


def chance(net: AdaptedNet, batches: Batches, generator: torch.Generator) -> Scores:
    """Any order. The baseline of all."""
    return {unit.name: torch.rand(unit.conv.out_channels, generator=generator) for unit in net.backbone.units}


for _name, _criterion in {
    "magnitude": magnitude,
    "gamma": gamma,
    "activation": activation,
    "taylor": taylor,
    "fisher": fisher,
    "weight_l1": weight_l1,
    "random": chance,
}.items():
    CRITERIA.register(_name, _criterion)


def gate_gradients(net: AdaptedNet, batches: Batches) -> Iterator[Scores]:
    """dL/dm of each picture and channel at m = 1, batch by batch: unit -> [B, O]. No parameter's ``grad`` is touched.

    Rows of a batch do not depend on each other (norms are frozen), so one pass back gives every picture's own gradient.
    """
    gates: Scores = {}
    with (
        torch.enable_grad(),
        tapped(net.backbone, {unit.name: _multiplier(unit.name, gates) for unit in net.backbone.units}),
    ):
        for x, labels in batches:
            loss = functional.cross_entropy(net(x), labels, reduction="sum")
            yield dict(zip(gates, torch.autograd.grad(loss, list(gates.values())), strict=True))


def _mean_of(net: AdaptedNet, batches: Batches, value: Callable[[Tensor], Tensor]) -> Scores:
    sums: Scores = {}
    num = 0
    for gradients in gate_gradients(net, batches):
        totals = {name: value(gradient).sum(0) for name, gradient in gradients.items()}
        sums = {name: sums[name] + total for name, total in totals.items()} if sums else totals
        num += len(next(iter(gradients.values())))
    return {name: total / num for name, total in sums.items()}


def _multiplier(name: str, gates: Scores) -> Change:
    def change(y: Tensor) -> Tensor:
        gate = gates[name] = torch.ones(y.shape[:2], dtype=y.dtype, device=y.device, requires_grad=True)  # [B, O]
        return y * gate[:, :, None, None]

    return change


def _adder(name: str, sums: Scores) -> Change:
    def change(y: Tensor) -> Tensor:
        total = y.clamp(min=0).mean((2, 3)).sum(0)  # in place ReLUs follow, so it is read here
        sums[name] = sums[name] + total if name in sums else total
        return y

    return change


def _scale(unit: Unit) -> Tensor | None:
    gate = gate_of(unit)
    return gate.scale() if isinstance(gate, Gate) else None

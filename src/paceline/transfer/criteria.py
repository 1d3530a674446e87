"""Ways to say how much a channel matters. A new one is a function here and a line in the registry.

`taylor` and `fisher` see a gate m = 1 at the output y of each unit, y' = m * y, which has the gradient sum(y * dL/dy). So they
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
    for means, _ in _activations(net, batches):
        sums = {name: sums.get(name, 0) + values.sum(0) for name, values in means.items()}
        num += len(next(iter(means.values())))
    return {name: total / num for name, total in sums.items()}


def separation(net: AdaptedNet, batches: Batches, generator: torch.Generator) -> Scores:
    """How far classes lie apart in what is left of the output behind a ReLU: its variance between them over that within (Fisher's F).

    1 is what a channel gets by chance that says nothing of the class. Unlike the others it does not ask what the network makes
    of a channel, so no head that has learned noise can mislead it, and a channel that few classes need scores low.
    ConfigError without two classes and a picture more than there are classes.
    """
    counts = torch.zeros(net.head.out_features, dtype=torch.float64)
    sums: Scores = {}  # unit -> [C, O]
    squares: Scores = {}  # unit -> [O]
    for means, labels in _activations(net, batches):
        member = functional.one_hot(labels, len(counts)).double()  # [B, C]
        counts += member.sum(0)
        for name, values in means.items():
            sums[name] = sums.get(name, 0) + member.T @ values
            squares[name] = squares.get(name, 0) + values.square().sum(0)
    known = counts > 0
    num, num_classes = float(counts.sum()), int(known.sum())
    if num_classes < 2 or num <= num_classes:
        raise ConfigError(
            f"separation needs two classes and more pictures than classes; got {num:.0f} of {num_classes}"
        )
    scores: Scores = {}
    for name, of_class in sums.items():
        explained = (of_class[known].square() / counts[known, None]).sum(0)
        between = (explained - of_class.sum(0).square() / num).clamp(min=0) / (num_classes - 1)
        within = (squares[name] - explained).clamp(min=0) / (num - num_classes)
        scores[name] = torch.where(between > 0, between / within.clamp(min=1e-12), 0.0)
    return scores


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
    "separation": separation,
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


def _activations(net: AdaptedNet, batches: Batches) -> Iterator[tuple[Scores, Tensor]]:
    """Mean over places of each picture's output behind a ReLU, unit -> [B, O], beside the labels, batch by batch."""
    means: Scores = {}
    with torch.no_grad(), tapped(net.backbone, {unit.name: _reader(unit.name, means) for unit in net.backbone.units}):
        for x, labels in batches:
            net(x)
            yield means, labels


def _reader(name: str, means: Scores) -> Change:
    def change(y: Tensor) -> Tensor:
        means[name] = y.clamp(min=0).mean((2, 3)).double()  # in place ReLUs follow, so it is read here
        return y

    return change


def _scale(unit: Unit) -> Tensor | None:
    gate = gate_of(unit)
    return gate.scale() if isinstance(gate, Gate) else None

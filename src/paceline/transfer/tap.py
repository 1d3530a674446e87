"""A hand on what units put out, for as long as a block of code runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import final

from torch import Tensor, nn

from paceline.errors import ConfigError
from paceline.transfer.backbone.backbone import Backbone
from paceline.transfer.backbone.unit import Unit, UnitGate

Change = Callable[[Tensor], Tensor]


@final
class Tap:
    """Sits where a unit's gate sits, asks that gate, and changes what it says."""

    def __init__(self, gate: UnitGate | None, change: Change) -> None:
        self.gate = gate
        self.change = change

    def __call__(self, unit: Unit, x: Tensor) -> Tensor:
        y = unit.norm(unit.conv(x)) if self.gate is None else self.gate(unit, x)
        return self.change(y)


@contextmanager
def tapped(backbone: Backbone, changes: Mapping[str, Change]) -> Iterator[None]:
    """Output of the named units, [B, O, H, W], goes through ``changes``. Taps may be nested; a failure inside leaves none behind.

    ConfigError, with the known names, for a unit that is not there.
    """
    units = {unit.name: unit for unit in backbone.units}
    if unknown := sorted(changes.keys() - units.keys()):
        raise ConfigError(f"{backbone.arch} has no unit {unknown[0]!r}; known: {', '.join(units)}")
    gates = {name: units[name].gate for name in changes}
    try:
        for name, change in changes.items():
            units[name].gate = Tap(gates[name], change)
        yield
    finally:
        for name, gate in gates.items():
            units[name].gate = gate


def gate_of(unit: Unit) -> UnitGate | None:
    """The unit's gate behind all taps."""
    gate = unit.gate
    while isinstance(gate, Tap):
        gate = gate.gate
    return gate


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """No module of ``net`` is in training, until the end of the block."""
    training = [module for module in net.modules() if module.training]
    net.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def inner_units(backbone: Backbone) -> tuple[str, ...]:
    """Units whose channels nobody but the next convolution of their own block reads: those that can be cut alone.

    >>> from paceline.transfer.backbone.backbone import build
    >>> inner_units(build("resnet18"))[:2], len(inner_units(build("glyphnet")))
    (('layer1.0.conv1', 'layer1.1.conv1'), 16)
    """
    names = [unit.name for unit in backbone.units if "downsample" not in unit.name]
    blocks = [".".join(name.split(".")[:2]) for name in names]  # torchvision: "layer1.0.conv2", "features.3.conv.1.0"
    return tuple(name for place, name in enumerate(names[:-1]) if blocks[place] == blocks[place + 1])

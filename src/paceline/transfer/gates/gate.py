"""What all gates have in common, and their registry."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Final

from torch import Tensor, nn

from paceline.registry import Registry
from paceline.transfer.backbone.unit import Unit, affine


class Gate(nn.Module):
    """A small learned part of one unit. All it learns is zero at first, where the unit does what it did without it.

    ``mixable`` gates are a scale and a shift of each channel, so that every row of a batch may have its own.
    """

    name: ClassVar[str]
    learning_rate: ClassVar[float]  # where the search for one begins
    mixable: ClassVar[bool] = False

    def __init__(self, unit: Unit) -> None:
        """ConfigError if the unit's norm would undo what this gate does."""
        super().__init__()
        assert unit.frozen_norm is unit.norm

    @abstractmethod
    def forward(self, unit: Unit, x: Tensor) -> Tensor:
        """The unit's output with this gate: [B, I, H, W] -> [B, O, H', W']"""

    def scale(self) -> Tensor | None:
        """By what each output channel is multiplied, [O]; None if this gate does not do that."""
        return None

    def kernel(self, unit: Unit) -> Tensor:
        """The kernel that the unit convolves with, [O, I, k, k]."""
        return unit.conv.weight

    def table(self, unit: Unit) -> tuple[Tensor, Tensor]:
        """Scale and shift, [O] each, behind a convolution with ``kernel``: y = conv(x) * scale + shift.

        ConfigError if what this gate does depends on its input, so that it cannot be folded either.
        """
        return unit.frozen_norm.affine()


def tables(unit: Unit) -> tuple[Tensor, Tensor, Tensor]:
    """What a unit with or without a gate amounts to: a kernel [O, I, k, k], and scale and shift [O] behind it.

    ConfigError if it depends on the unit's input.
    """
    if isinstance(unit.gate, Gate):
        return unit.gate.kernel(unit), *unit.gate.table(unit)
    return unit.conv.weight, *affine(unit.norm)


GATES: Final[Registry[type[Gate]]] = Registry("gate")
GATES.register_lazy("affine", "paceline.transfer.gates.affine:Affine")
GATES.register_lazy("out", "paceline.transfer.gates.out:Out")
GATES.register_lazy("full", "paceline.transfer.gates.full:Full")
GATES.register_lazy("lora", "paceline.transfer.gates.lora:LoRA")
GATES.register_lazy("affine_lora", "paceline.transfer.gates.affine_lora:AffineLoRA")
GATES.register_lazy("dynamic", "paceline.transfer.gates.dynamic:Dynamic")

"""A scale and a shift of every channel, behind the norm."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from paceline.transfer.backbone.unit import Unit
from paceline.transfer.gates.gate import Gate


@final
class Affine(Gate):
    """y = s * norm(conv(x)) + t. Equal to learning the norm's weight and bias, and to SSF (Lian et al., 2022, arXiv 2210.08823)
    on networks of convolutions and norms.
    """

    name = "affine"
    learning_rate = 1e-2
    mixable = True

    def __init__(self, unit: Unit) -> None:
        super().__init__(unit)
        self.scale_delta = nn.Parameter(torch.zeros(unit.conv.out_channels))
        self.shift = nn.Parameter(torch.zeros(unit.conv.out_channels))

    def forward(self, unit: Unit, x: Tensor) -> Tensor:
        return self.normed(unit, unit.conv(x))

    def normed(self, unit: Unit, y: Tensor) -> Tensor:
        """What the norm gives for this input, scaled and shifted: [B, O, H, W] -> [B, O, H, W]"""
        norm, scale = unit.frozen_norm, self.scale()
        return norm.scaled(y, norm.weight * scale, norm.bias * scale + self.shift)

    def scale(self) -> Tensor:
        return 1.0 + self.scale_delta

    def table(self, unit: Unit) -> tuple[Tensor, Tensor]:
        scale, shift = unit.frozen_norm.affine()
        return scale * self.scale(), shift * self.scale() + self.shift

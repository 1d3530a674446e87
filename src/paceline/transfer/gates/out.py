"""One multiplier of every filter: attention on convolutions in its small form."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from paceline.transfer.backbone.unit import Unit
from paceline.transfer.gates.gate import Gate


@final
class Out(Gate):
    """y = norm(s * conv(x)), with one s for each filter (Mo et al., 2019, arXiv 1906.04950).

    The product is taken behind the convolution, which needs no gradient of its kernel, and inside the norm's own scale.
    """

    name = "out"
    learning_rate = 1e-2
    mixable = True

    def __init__(self, unit: Unit) -> None:
        super().__init__(unit)
        self.scale_delta = nn.Parameter(torch.zeros(unit.conv.out_channels))

    def forward(self, unit: Unit, x: Tensor) -> Tensor:
        norm = unit.frozen_norm
        std = torch.rsqrt(norm.running_var + norm.eps)
        # norm(s * z) = s * weight * (z - mean) / std + bias + (s - 1) * weight * mean / std
        induced = self.scale_delta * norm.weight * norm.running_mean * std
        return norm.scaled(unit.conv(x), norm.weight * self.scale(), norm.bias + induced)

    def scale(self) -> Tensor:
        return 1.0 + self.scale_delta

    def table(self, unit: Unit) -> tuple[Tensor, Tensor]:
        scale, shift = unit.frozen_norm.affine()
        return scale * self.scale(), shift

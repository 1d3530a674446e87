"""A correction of low rank beside every kernel."""

from __future__ import annotations

from typing import Final, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from paceline.transfer.backbone.unit import Unit
from paceline.transfer.gates.gate import Gate

RANK: Final = 4


@final
class LoRA(Gate):
    """The kernel plus up x down, where ``down`` is a convolution to few channels (Hu et al., 2021, arXiv 2106.09685)."""

    name = "lora"
    learning_rate = 3e-3

    def __init__(self, unit: Unit, rank: int = RANK) -> None:
        super().__init__(unit)
        out, into, *size = unit.conv.weight.shape
        self.down = nn.Parameter(torch.empty(rank, into, *size))
        self.up = nn.Parameter(torch.zeros(out, rank, 1, 1))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)  # as nn.Conv2d begins

    def forward(self, unit: Unit, x: Tensor) -> Tensor:
        return unit.norm(self.convolved(unit, x))  # type: ignore[no-any-return]

    def convolved(self, unit: Unit, x: Tensor) -> Tensor:
        """What goes into the norm: [B, I, H, W] -> [B, O, H', W']"""
        y: Tensor
        if unit.conv.groups > 1:  # its groups would cut ``down`` apart
            y = unit.conv._conv_forward(x, self.kernel(unit), None)
        else:
            y = unit.conv(x) + functional.conv2d(unit.conv._conv_forward(x, self.down, None), self.up)
        return y

    def kernel(self, unit: Unit) -> Tensor:
        return unit.conv.weight + torch.einsum("or,rikl->oikl", self.up[:, :, 0, 0], self.down)

"""One multiplier of every slice of every filter: attention on convolutions in its large form."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from paceline.transfer.backbone.unit import Unit
from paceline.transfer.gates.gate import Gate


@final
class Full(Gate):
    """The kernel times s, one s for each pair of an output and an input channel (Mo et al., 2019, arXiv 1906.04950).

    In a 1 x 1 convolution that is as many numbers as the kernel has, so an adapter of this kind is large.
    """

    name = "full"
    learning_rate = 1e-2

    def __init__(self, unit: Unit) -> None:
        super().__init__(unit)
        self.scale_delta = nn.Parameter(torch.zeros(*unit.conv.weight.shape[:2], 1, 1))

    def forward(self, unit: Unit, x: Tensor) -> Tensor:
        return unit.norm(unit.conv._conv_forward(x, self.kernel(unit), None))  # type: ignore[no-any-return]

    def kernel(self, unit: Unit) -> Tensor:
        return unit.conv.weight * (1.0 + self.scale_delta)

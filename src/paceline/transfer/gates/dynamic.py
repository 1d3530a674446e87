"""A scale of every channel that depends on the picture. Experimental: it has not been seen to be better than ``affine``."""

from __future__ import annotations

from typing import Final, NoReturn, final

import torch
from torch import Tensor, nn

from paceline.errors import ConfigError
from paceline.transfer.backbone.unit import Unit
from paceline.transfer.gates.gate import Gate

_SQUEEZE: Final = 16


@final
class Dynamic(Gate):
    """y = s * (1 + tanh(W2 relu(W1 mean(norm(conv(x)))))) * norm(conv(x)): squeeze and excitation (Hu et al., 2018, arXiv 1709.01507)
    in a form that changes nothing at first.
    """

    name = "dynamic"
    learning_rate = 1e-2

    def __init__(self, unit: Unit) -> None:
        super().__init__(unit)
        out = unit.conv.out_channels
        self.scale_delta = nn.Parameter(torch.zeros(out))
        self.squeeze = nn.Linear(out, max(4, out // _SQUEEZE))
        self.excite = nn.Linear(self.squeeze.out_features, out)
        nn.init.zeros_(self.excite.weight)
        nn.init.zeros_(self.excite.bias)

    def forward(self, unit: Unit, x: Tensor) -> Tensor:
        y: Tensor = unit.norm(unit.conv(x))
        excited = 1.0 + torch.tanh(self.excite(torch.relu(self.squeeze(y.mean((2, 3))))))  # [B, O]
        return y * (self.scale() * excited)[:, :, None, None]

    def scale(self) -> Tensor:
        return 1.0 + self.scale_delta

    def table(self, unit: Unit) -> NoReturn:
        raise ConfigError(
            "a dynamic gate depends on its input, so it cannot be folded into a convolution or put into a table"
        )

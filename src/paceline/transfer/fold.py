"""Gates and norms taken into the convolutions before them: an adapted network that costs no more than a plain one."""

from __future__ import annotations

import copy
from typing import final

import torch
from torch import Tensor, nn

from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.backbone import Backbone
from paceline.transfer.gates.gate import tables


@final
class FoldedNet(nn.Module):
    """Convolutions with bias and a head, nothing learned: [B, C, H, W] -> [B, num_classes]. It stands alone, without a base."""

    def __init__(self, backbone: Backbone, head: nn.Linear) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))  # type: ignore[no-any-return]

    def features(self, x: Tensor) -> Tensor:
        """What the head sees: [B, C, H, W] -> [B, F]"""
        return self.backbone(x)  # type: ignore[no-any-return]


def fold(net: AdaptedNet) -> FoldedNet:
    """The same answers from one convolution per unit; ``net`` stays as it is.

    ConfigError if a gate depends on its input, so that no convolution does what it does.

    >>> from paceline.transfer.backbone.backbone import build
    >>> folded = fold(AdaptedNet(build("glyphnet", num_inputs=1), num_classes=5))
    >>> [*folded.state_dict()][:4]
    ['backbone.conv1.weight', 'backbone.conv1.bias', 'backbone.layer1.0.conv1.weight', 'backbone.layer1.0.conv1.bias']
    """
    with torch.no_grad():
        backbone = net.backbone.without_norms()
        for unit, whole in zip(backbone.units, net.backbone.units, strict=True):
            kernel, scale, shift = tables(whole)
            unit.conv.weight = nn.Parameter(kernel * scale[:, None, None, None], requires_grad=False)
            unit.conv.bias = nn.Parameter(shift.clone(), requires_grad=False)
    return FoldedNet(backbone, copy.deepcopy(net.head).requires_grad_(False)).eval()

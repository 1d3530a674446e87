"""One adapter as a network by itself, for a host that runs many of them: their convolutions are the base's own.

A host that sees which weights are the same, as ``paceline.multiplex`` does, joins the rows of all adapters in every convolution, and
keeps apart the numbers that differ: a scale and a shift behind each.
"""

from __future__ import annotations

import copy
from typing import Any, final

from torch import Tensor, nn

from paceline.errors import ConfigError
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.backbone import Backbone, build
from paceline.transfer.backbone.unit import Unit
from paceline.transfer.gates.gate import tables


@final
class AdaptedForServing(nn.Module):
    """Logits, [B, C, H, W] -> [B, num_classes]. Its convolutions hold the very tensors of ``net``, which stays as it is.

    ConfigError for gates that are more than a scale and a shift of each channel: those change the convolutions.
    """

    def __init__(self, net: AdaptedNet) -> None:
        super().__init__()
        for unit, gate in net.gated():
            if not gate.mixable:
                raise ConfigError(
                    f"gates of kind {gate.name!r} ({unit.name}) change the convolutions, so nothing could be shared: fold the network"
                )
        self.backbone: Backbone = net.backbone.without_norms()
        self.channels = nn.ModuleDict()
        for unit, whole in zip(self.backbone.units, net.backbone.units, strict=True):
            _, scale, shift = tables(whole)
            unit.gate = self.channels[unit.name.replace(".", "/")] = _Channels(scale, shift)
        self.head = copy.deepcopy(net.head)
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))  # type: ignore[no-any-return]


@final
class _Channels(nn.Module):
    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale.detach().clone()[:, None, None])  # [O, 1, 1]
        self.register_buffer("shift", shift.detach().clone()[:, None, None])

    def forward(self, unit: Unit, x: Tensor) -> Tensor:
        y: Tensor = unit.conv(x)
        return y * self.scale + self.shift


def adapted_backbone(*, arch: str, num_classes: int, num_inputs: int = 3, **options: Any) -> AdaptedForServing:
    """The same with random weights, to be loaded into: an architecture that a model folder of ``paceline.multiplex`` may name."""
    return AdaptedForServing(AdaptedNet(build(arch, num_inputs=num_inputs, **options), num_classes, gate=None))

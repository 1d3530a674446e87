"""A very small adapted network with norms and gates that do something, and labelled noise for it."""

from __future__ import annotations

import torch
from torch import Tensor

from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.resnet import ResNet

NUM_CLASSES = 3
SIDE = 32


def small_net(gate: str | None = "affine", seed: int = 0, width: int = 8) -> AdaptedNet:
    torch.manual_seed(seed)
    backbone = ResNet("glyphnet", (1, 1, 1, 1), "bottleneck", num_inputs=1, width=width)
    net = AdaptedNet(backbone, NUM_CLASSES, gate)
    with torch.no_grad():
        for unit in backbone.units:
            unit.frozen_norm.weight.uniform_(0.5, 1.5)
            unit.frozen_norm.bias.normal_(0.0, 0.2)
            unit.frozen_norm.running_mean.normal_(0.0, 0.2)
            unit.frozen_norm.running_var.uniform_(0.5, 2.0)
        for parameter in net.gates.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return net.eval()


def batches(num: int = 12, batch_size: int = 6, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num, 1, SIDE, SIDE, generator=generator)
    labels = torch.arange(num) % NUM_CLASSES
    return list(zip(x.split(batch_size), labels.split(batch_size), strict=True))

"""The networks: made by name and width, with weights that differ in every number, or are the same."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from paceline.multiplex.architectures import build

_STEPS: Final = 8  # of sequences
_PIXELS: Final = 32
_SPREAD: Final = 0.1

RESNET_50: Final[dict[str, Any]] = {
    "channels": (64, 128, 256, 512), "num_blocks": (3, 4, 6, 3), "block": "bottleneck", "stem": "large", "num_outputs": 1000,
}  # fmt: skip
HALF_RESNET_18: Final[dict[str, Any]] = {"channels": (32, 64, 128, 256), "num_blocks": 2}


def _options(net: str, width: int) -> tuple[str, dict[str, Any]]:
    if net == "resnet":
        return net, {"channels": (width, 2 * width, 4 * width)}
    if net == "blocks":
        return "encoder", {
            "width": width,
            "num_blocks": 24,
        }  # three milliseconds: with less the front end is the limit, not the device
    return net, {"width": width}


def make(net: str, width: int, num: int, *, weights: str = "different", seed: int = 0) -> list[nn.Module]:
    """So many models of one architecture; with ``shared`` weights they are one object.

    ``blocks`` is an encoder of 24 blocks, the other names are those of architectures; the width of a ``resnet`` is that of its first stage.
    """
    architecture, options = _options(net, width)
    torch.manual_seed(seed)
    if weights == "shared":
        return [own(build(architecture, **options))] * num
    return [own(build(architecture, **options)) for _ in range(num)]


def own(model: nn.Module) -> nn.Module:
    """``model`` with normalisations that were trained, so to speak: as made they would all be equal."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.LayerNorm, nn.BatchNorm2d)):
                module.weight.add_(_SPREAD * torch.randn_like(module.weight))
                module.bias.add_(_SPREAD * torch.randn_like(module.bias))
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.add_(_SPREAD * torch.randn_like(module.running_mean))
                module.running_var.mul_(1.0 + _SPREAD * torch.rand_like(module.running_var))
    return model


def example(net: str, width: int, *, rows: int = 1) -> Tensor:
    """Random inputs of ``make(net, width, …)``."""
    if net == "resnet":
        return torch.randn(rows, 3, _PIXELS, _PIXELS)
    return torch.randn(rows, width) if net == "mlp" else torch.randn(rows, _STEPS, width)

"""Where in a picture the network saw a class: Grad-CAM (Selvaraju et al., 2017, arXiv 1610.02391)."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.tap import evaluating

MIN_SIDE: Final = 4  # a map of fewer places tells nothing about where


def grad_cam(net: AdaptedNet, x: Tensor, classes: Tensor, stage: int | None = None) -> Tensor:
    """Heat in [0, 1] at every pixel of ``x`` [B, C, H, W] for ``classes`` [B]: [B, H, W].

    The activations behind ``stage`` (None: the last whose map is at least 4 x 4) are made the leaf that gradients are taken of, so a frozen network
    answers too; no parameter's ``grad`` is touched, and there is no hook to leave behind.

    >>> from paceline.transfer.backbone.backbone import build
    >>> net = AdaptedNet(build("glyphnet", num_inputs=1), num_classes=3)
    >>> grad_cam(net, torch.rand(2, 1, 64, 64), torch.tensor([0, 2])).shape
    torch.Size([2, 64, 64])
    """
    with evaluating(net):
        with torch.no_grad():
            last = _last_map(net, x[:1]) if stage is None else stage
            activation = net.backbone.run(x, 0, last)  # [B, A, h, w]
        activation = activation.clone().requires_grad_(True)  # of the clone: a stage's first ReLU may work in place
        with torch.enable_grad():
            rest = net.backbone.run(activation, last + 1)
            logits = net.head(net.backbone.pool(rest))
            chosen = logits.gather(1, classes[:, None]).sum()
            (gradient,) = torch.autograd.grad(chosen, activation)
    weights = gradient.mean((2, 3), keepdim=True)  # [B, A, 1, 1]
    heat = (weights * activation.detach()).sum(1, keepdim=True).relu()
    heat = functional.interpolate(heat, x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    return heat / heat.amax((1, 2), keepdim=True).clamp(min=1e-12)


def _last_map(net: AdaptedNet, x: Tensor) -> int:
    """The last stage whose map is large enough, or the stem."""
    last = 0
    for stage in range(len(net.backbone.stage_names)):
        x = net.backbone.run_stage(x, stage)
        if min(x.shape[2:]) >= MIN_SIDE:
            last = stage
    return last

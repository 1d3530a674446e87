"""What each step changes: AdamW over groups of parameters, and the step that draws scales to 0."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.fit.options import FitOptions

CLIP_NORM = 1.0
AVERAGE = 0.98  # of the weights that are judged and kept, at each step
BETA2 = 0.999  # how long AdamW remembers the size of gradients


def make_optimizer(net: AdaptedNet, options: FitOptions, head_share: float) -> torch.optim.AdamW:
    """AdamW over all that is learned. Gates, norms and biases do not decay: zero, or less, is no better a place for them.

    The head's rate is ``head_share`` of the others'.
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and not name.startswith("gates.")
            share = head_share if name.startswith("head.") else 1.0
            groups.setdefault((decays, share), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": some, "weight_decay": options.weight_decay * decays, "share": share}
            for (decays, share), some in groups.items()
        ],
        betas=(0.9, BETA2),
        fused=True,
    )


def set_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["share"]


@torch.no_grad()
def average(averaged: Mapping[str, Tensor], tensors: Mapping[str, Tensor], step: int) -> None:
    """Moves ``averaged`` towards ``tensors``: a mean over about the last ``1 / (1 - AVERAGE)`` steps, in the beginning over fewer."""
    share = max(1 - AVERAGE, 9 / (step + 10))
    for name, mean in averaged.items():
        if mean.is_floating_point():
            mean.lerp_(tensors[name], share)
        else:
            mean.copy_(tensors[name])


def clip(net: nn.Module) -> None:
    """Shortens the gradient of all that is learned to ``CLIP_NORM``."""
    nn.utils.clip_grad_norm_([parameter for parameter in net.parameters() if parameter.grad is not None], CLIP_NORM)


@torch.no_grad()
def shrink(net: AdaptedNet, optimizer: torch.optim.Optimizer, l1: float, learning_rate: float) -> None:
    """The proximal step of ``l1`` times the mean size of all scales (Parikh and Boyd, 2014): each moves towards 0 by one length.

    As a part of the loss it would not do: Adam makes steps of full size out of the smallest gradients of gates that nothing else
    moves. The length is measured in Adam's own terms, by the size of a typical gradient of a scale.
    """
    deltas = [parameter for name, parameter in net.named_parameters() if name.endswith(".scale_delta")]
    states = [optimizer.state[delta] for delta in deltas if delta in optimizer.state]
    if not states:
        return
    count = sum(delta.numel() for delta in deltas)
    squares = sum(float(state["exp_avg_sq"].sum()) for state in states) / (1 - BETA2 ** float(states[0]["step"]))
    length = learning_rate * min(1.0, l1 / count / max(squares / count, 1e-30) ** 0.5)
    for delta in deltas:
        scale = delta + 1
        delta.copy_(torch.sign(scale) * (scale.abs() - length).clamp_min_(0.0) - 1)

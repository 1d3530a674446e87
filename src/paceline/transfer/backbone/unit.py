"""A convolution and the norm behind it: the one place where a gate can sit."""

from __future__ import annotations

from typing import Protocol, TypeAlias, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from paceline.errors import ConfigError


@final
class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation by statistics that no training moves, whatever ``train()`` says.

    Its tensors have the names of ``nn.BatchNorm2d``. ``weight`` and ``bias`` are learned only where a method says so.

    >>> norm = FrozenBatchNorm2d(2).train()
    >>> _ = norm(torch.ones(4, 2, 3, 3))
    >>> norm.running_mean
    tensor([0., 0.])
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_channels), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(num_channels), requires_grad=False)
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        return self.scaled(x, self.weight, self.bias)

    def scaled(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The same with another weight and bias, [C] each: [B, C, H, W] -> [B, C, H, W]."""
        return functional.batch_norm(x, self.running_mean, self.running_var, weight, bias, False, 0.0, self.eps)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift that this norm amounts to: y = x * scale + shift. Two tensors [C]."""
        return affine(self)


Norm: TypeAlias = FrozenBatchNorm2d | nn.BatchNorm2d | nn.Identity  # the last where it was folded into its convolution


def affine(norm: Norm) -> tuple[Tensor, Tensor]:
    """Scale and shift, [C] each, that a norm in evaluation amounts to: y = x * scale + shift."""
    assert not isinstance(norm, nn.Identity), "it was folded"
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


class UnitGate(Protocol):
    """What sits in a unit: it computes the unit's output itself."""

    def __call__(self, unit: Unit, x: Tensor) -> Tensor: ...


@final
class Unit:
    """A convolution and its norm, by the name of the convolution. It owns neither, so names of tensors stay as they are."""

    def __init__(self, name: str, conv: nn.Conv2d, norm: Norm, stage: int) -> None:
        self.name = name
        self.conv = conv
        self.norm = norm
        self.stage = stage  # 0 is the stem
        self.gate: UnitGate | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """[B, I, H, W] -> [B, O, H', W']"""
        return self.norm(self.conv(x)) if self.gate is None else self.gate(self, x)

    @property
    def frozen_norm(self) -> FrozenBatchNorm2d:
        """The norm. ConfigError if it normalises by the statistics of a batch: they would take back what a gate does."""
        if isinstance(self.norm, FrozenBatchNorm2d):
            return self.norm
        if isinstance(self.norm, nn.Identity):
            raise ConfigError(
                f"{self.name} has no norm any more, since it was folded: gates belong into the base network"
            )
        raise ConfigError(
            f"{self.name} normalises by the statistics of its batch, which undoes any scale before it and makes the rows of a batch "
            "depend on each other; build the network with norm='frozen'"
        )

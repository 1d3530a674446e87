"""Lets a pruned network learn back what it lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from paceline.errors import ConfigError, ExecutionError
from paceline.transfer.criteria import Batches
from paceline.transfer.fit.numerics import Numerics
from paceline.transfer.fit.options import Precision

Epochs: TypeAlias = Callable[
    [int], Batches
]  # training batches of an epoch, from 0, in their own order and augmentation


class HealOptions(msgspec.Struct, frozen=True, kw_only=True):
    num_epochs: int = 8
    learning_rate: float = 1e-3  # at its highest; one rise and fall over all epochs
    weight_decay: float = 1e-2
    teacher_share: float = 0.5  # of the loss: agree with the network before pruning, rather than with the labels
    precision: Precision = "auto"  # bfloat16 where the CPU is fast at it

    def __post_init__(self) -> None:
        if self.num_epochs < 1 or not self.learning_rate > 0.0:
            raise ConfigError(
                f"num_epochs must be >= 1 and learning_rate > 0, got {self.num_epochs} and {self.learning_rate}"
            )
        if not 0.0 <= self.teacher_share <= 1.0 or self.weight_decay < 0.0:
            raise ConfigError(
                f"teacher_share must be in [0, 1] and weight_decay >= 0, got {self.teacher_share} and {self.weight_decay}"
            )


def heal(net: nn.Module, teacher: nn.Module, epochs: Epochs, num_steps: int, options: HealOptions) -> None:
    """Trains all weights of the pruned ``net`` in place, ``num_steps`` an epoch, on labels and on the answers of ``teacher``.

    The teacher is the network before pruning (Hinton et al., 2015, arXiv 1503.02531). All weights, since the network is small
    now and nobody else's; scales and shifts alone heal less. ExecutionError if the loss is not finite.
    """
    trained = net.requires_grad_(True).parameters()
    optimizer = torch.optim.AdamW(trained, options.learning_rate, weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.learning_rate, total_steps=num_steps * options.num_epochs, pct_start=0.15
    )
    numerics = Numerics(precision=options.precision)
    for epoch in range(options.num_epochs):
        for x, labels in epochs(epoch):
            x = numerics.place(x)
            with numerics.autocast():
                logits, answers = net(x), _answers(teacher, x)
            loss = _loss(logits.float(), answers, labels, options.teacher_share)
            if not loss.isfinite():
                raise ExecutionError(
                    f"healing diverged in epoch {epoch}; lower learning_rate ({options.learning_rate})"
                )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    net.requires_grad_(False)


def _answers(teacher: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return teacher(x).float().softmax(1)  # type: ignore[no-any-return]


def _loss(logits: Tensor, answers: Tensor, labels: Tensor, teacher_share: float) -> Tensor:
    """Cross entropy with the labels and with the teacher's answers, [B, K]."""
    own = functional.cross_entropy(logits, labels)
    return torch.lerp(own, functional.cross_entropy(logits, answers), teacher_share)

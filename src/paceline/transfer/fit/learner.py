"""A network that learns: one step, and how good it is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor
from torch.nn import functional

from paceline.errors import ExecutionError
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.fit.calibration import Judged, judged
from paceline.transfer.fit.feed import Feed
from paceline.transfer.fit.numerics import Numerics
from paceline.transfer.fit.optimizer import average, clip, make_optimizer, set_rate, shrink
from paceline.transfer.fit.options import FitOptions
from paceline.transfer.fit.state import copied, learned, put_back

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
class Learner:
    """``net`` with its optimiser.

    ``tensors`` are those that a step changes, by name; ``averaged`` are their means over the last steps, by which it is judged: at a
    high rate they are far better than what any one step leaves.
    """

    def __init__(
        self,
        net: AdaptedNet,
        feed: Feed,
        options: FitOptions,
        numerics: Numerics,
        *,
        head_share: float = 1.0,
        class_weights: Tensor | None = None,
    ) -> None:
        self.net = net
        self.feed = feed
        self.class_weights = class_weights
        self._options = options
        self._numerics = numerics
        self._head_share = head_share
        self.tensors = learned(net)
        self.averaged: dict[str, Tensor]
        self.optimizer: torch.optim.Optimizer
        self.forget()

    def forget(self) -> None:
        """Begins where ``tensors`` are, with an optimiser that has seen nothing."""
        self.averaged = copied(self.tensors)
        self.optimizer = make_optimizer(self.net, self._options, self._head_share)

    def step(self, inputs: Tensor, labels: Tensor, learning_rate: float, number: int) -> float:
        """Learns from one batch and returns its loss. ExecutionError, with nothing changed, if that is no number."""
        self.net.train()
        set_rate(self.optimizer, learning_rate)
        with self._numerics.autocast():
            logits = self.net.head(self.feed.features(self.net, inputs))
        loss = functional.cross_entropy(
            logits.float(), labels, self.class_weights, label_smoothing=self._options.label_smoothing
        )
        value = float(loss.detach())
        check_loss(value, number, learning_rate)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        clip(self.net)
        self.optimizer.step()
        if self._options.l1:
            shrink(self.net, self.optimizer, self._options.l1, learning_rate)
        average(self.averaged, self.tensors, number)
        return value

    def judge(self, rows: NDArray[np.int64] | None = None) -> Judged:
        """The averaged network on validation pictures, all or those of ``rows``."""
        self.net.eval()
        moving = copied(self.tensors)
        put_back(self.tensors, self.averaged)
        logits, labels = [], []
        with torch.inference_mode(), self._numerics.autocast():
            for inputs, some in self.feed.held_out(rows):
                logits.append(self.net.head(self.feed.features(self.net, inputs)).float())
                labels.append(some)
        put_back(self.tensors, moving)
        return judged(torch.cat(logits), torch.cat(labels), self.class_weights)


def check_loss(loss: float, step: int, learning_rate: float) -> None:
    """ExecutionError, saying what to do, if the loss is no number any more."""
    if not math.isfinite(loss):
        raise ExecutionError(
            f"the loss is {loss} in step {step}, at a learning rate of {learning_rate:.3g}; give a lower learning_rate "
            "(the last checkpoint is as it was), or precision='float32' if it was low already"
        )

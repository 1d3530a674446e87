"""How good logits are once they are as sharp as they should be.

A network that has learned a few pictures by heart is too sure of itself long before it gets worse at telling classes apart, so the plain
loss on validation pictures stops a training, and weakens a head, far too early.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

SOFTEST: Final = 0.02
SHARPEST: Final = 2.0  # a few pictures that are all right would ask for infinity
NUM_HALVINGS: Final = 24


class Judged(NamedTuple):
    """On validation pictures."""

    loss: float  # cross-entropy of the logits times ``sharpness``
    top1: float
    sharpness: float  # by which the loss is least: the inverse of a temperature (Guo et al., 2017, arXiv 1706.04599)


def judged(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Judged:
    """[N, K] and [N]

    >>> found = judged(torch.tensor([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0]]), torch.tensor([0, 0, 1]))  # 2 of 3 are right, not 98 %
    >>> round(found.sharpness, 3), round(found.loss, 3)
    (0.173, 0.637)
    """
    sharpness = best_sharpness(logits, labels, class_weights)
    loss = functional.cross_entropy(logits * sharpness, labels, class_weights)
    return Judged(float(loss), float((logits.argmax(1) == labels).float().mean()), sharpness)


def best_sharpness(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> float:
    """Where the cross-entropy of ``logits`` times it is least. It is convex in it, so its slope is halved upon."""
    weights = torch.ones_like(labels, dtype=logits.dtype) if class_weights is None else class_weights[labels]
    of_label = logits.gather(1, labels[:, None])[:, 0]

    def slope(sharpness: float) -> float:
        expected = ((logits * sharpness).softmax(1) * logits).sum(1)
        return float((weights * (expected - of_label)).sum())

    low, high = math.log(SOFTEST), math.log(SHARPEST)
    for _ in range(NUM_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(math.exp(middle)) > 0 else (middle, high)
    return math.exp(low)

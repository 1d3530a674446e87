"""The head alone: pooled features are computed once, and a linear classifier is fitted to all of them at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.fit.calibration import judged
from paceline.transfer.fit.feed import Batches, Feed
from paceline.transfer.fit.numerics import Numerics

PENALTIES = (
    1.0,
    0.3,
    0.1,
    0.03,
    0.01,
    3e-3,
    1e-3,
    3e-4,
    1e-4,
    1e-5,
)  # of L2, strongest first: each starts where the last ended
MAX_ITERATIONS = 30  # of L-BFGS, for each penalty: a hundred find the same accuracy
NUM_WORSE = 2  # penalties in a row that make it worse, before weaker ones are left out
FIRST_EPOCH = 1 << 20  # passes over the pictures augment them in other ways than any later epoch does


class Features(NamedTuple):
    """Pooled features of pictures, and their labels."""

    values: Tensor  # [N, F]
    labels: Tensor  # [N]


class FittedHead(NamedTuple):
    """A linear classifier with the penalty by which it did best on validation pictures."""

    weight: Tensor  # [K, F]
    bias: Tensor  # [K]
    penalty: float
    loss: float  # on the pictures that it was fitted to


def train_features(
    net: AdaptedNet, feed: Feed, num_passes: int, numerics: Numerics, seen: Callable[[], None]
) -> Features:
    """Of all training pictures, ``num_passes`` times, each time augmented in another way."""
    passes = [
        features_of(net, feed, feed.batches(FIRST_EPOCH + number), numerics, seen) for number in range(num_passes)
    ]
    return Features(torch.cat([each.values for each in passes]), torch.cat([each.labels for each in passes]))


def features_of(
    net: AdaptedNet, feed: Feed, batches: Batches, numerics: Numerics, seen: Callable[[], None]
) -> Features:
    """``seen`` is called behind each batch."""
    net.eval()
    values, labels = [], []
    with torch.inference_mode(), numerics.autocast():
        for inputs, some in batches:
            values.append(feed.features(net, inputs).float())
            labels.append(some)
            seen()
    return Features(torch.cat(values).clone(), torch.cat(labels).clone())


def fit_head(train: Features, val: Features, num_classes: int, class_weights: Tensor | None) -> FittedHead:
    """Logistic regression with that one of ``PENALTIES`` that is best on ``val``, and as sharp as is best there.

    It is convex, so it needs no learning rate, no schedule and no luck. Features are standardised, since one
    penalty for all of them means little otherwise.
    """
    mean, std = train.values.mean(0), train.values.std(0, correction=0)
    std = std.clamp_min(1e-5 * float(std.max()) + 1e-12)  # a feature that never changes must not explode
    fitted = Features((train.values - mean) / std, train.labels)
    judging = Features((val.values - mean) / std, val.labels)
    head = torch.zeros(num_classes, mean.numel() + 1, device=mean.device)  # the last column is the bias
    best, penalty_of_best, least, num_worse = head, PENALTIES[0], float("inf"), 0
    for penalty in PENALTIES:
        head = _solve(head, fitted, penalty, class_weights)
        found = judged(_logits(head, judging), judging.labels, class_weights)
        if found.loss < least:
            best, penalty_of_best, least, num_worse = head * found.sharpness, penalty, found.loss, 0
        else:
            num_worse += 1
        if num_worse == NUM_WORSE:
            break
    weight = best[:, :-1] / std
    return FittedHead(weight, best[:, -1] - weight @ mean, penalty_of_best, float(_loss(best, fitted, class_weights)))


def _solve(start: Tensor, data: Features, penalty: float, class_weights: Tensor | None) -> Tensor:
    """Head [K, F + 1] of least loss, the penalty included."""
    head = start.clone().requires_grad_()
    solver = torch.optim.LBFGS(
        [head], max_iter=MAX_ITERATIONS, tolerance_grad=1e-5, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        solver.zero_grad()
        loss = _loss(head, data, class_weights) + 0.5 * penalty * head[:, :-1].square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    return head.detach()


def _logits(head: Tensor, data: Features) -> Tensor:
    return functional.linear(data.values, head[:, :-1], head[:, -1])


def _loss(head: Tensor, data: Features, class_weights: Tensor | None) -> Tensor:
    return functional.cross_entropy(_logits(head, data), data.labels, class_weights)

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from paceline.transfer.fit.head import PENALTIES, Features, features_of, fit_head, train_features
from paceline.transfer.fit.numerics import Numerics
from tests.transfer.fit.made import adapted, feed, options


def clouds(num: int, seed: int, spread: float = 1.0) -> Features:
    """Three classes in eight dimensions, two of which are of another scale, and one of which never changes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num) % 3
    values = torch.eye(3, 8)[labels] + spread * torch.randn(num, 8, generator=generator)
    return Features(values * torch.tensor([1, 1, 1, 1, 1, 100, 0.01, 0]) + 3, labels)


def test_it_is_the_logistic_regression_of_its_penalty() -> None:
    train = clouds(300, 0)
    head = fit_head(train, clouds(300, 1), 3, None)
    mean, std = train.values.mean(0), train.values.std(0, correction=0).clamp_min(1e-3)
    reference = LogisticRegression(C=1 / (head.penalty * len(train.labels)), tol=1e-8, max_iter=1000)
    reference.fit(((train.values - mean) / std).numpy(), train.labels.numpy())
    ours = (train.values @ head.weight.T + head.bias).numpy()
    ours -= ours.mean(1, keepdims=True)
    theirs = reference.decision_function(((train.values - mean) / std).numpy())
    sharpness = (ours * theirs).sum() / (theirs * theirs).sum()
    assert 0.1 < sharpness < 2
    np.testing.assert_allclose(ours, sharpness * theirs, atol=1e-2)


def test_the_penalty_is_the_best_on_validation() -> None:
    noisy = fit_head(clouds(40, 0, spread=3.0), clouds(300, 1, spread=3.0), 3, None)
    clear = fit_head(clouds(300, 0, spread=0.1), clouds(300, 1, spread=0.1), 3, None)
    assert noisy.penalty > clear.penalty
    assert {noisy.penalty, clear.penalty} <= set(PENALTIES)


def test_a_weight_makes_a_rare_class_count() -> None:
    train, val = clouds(300, 0, spread=2.0), clouds(300, 1, spread=2.0)
    rare = Features(
        torch.cat([train.values[train.labels != 2], train.values[train.labels == 2][:5]]),
        torch.cat([train.labels[train.labels != 2], train.labels[train.labels == 2][:5]]),
    )

    def share_of_rare(weights: torch.Tensor | None) -> float:
        head = fit_head(rare, val, 3, weights)
        return float(((val.values @ head.weight.T + head.bias).argmax(1) == 2).float().mean())

    assert share_of_rare(torch.tensor([0.7, 0.7, 14.0])) > share_of_rare(None)


def test_features_of_several_passes_vary_and_repeat_no_epoch() -> None:
    net, made = adapted("probe"), feed(options(batch_size=24))
    calls: list[int] = []
    found = train_features(net, made, 2, Numerics("cpu", "float32"), lambda: calls.append(1))
    assert found.values.shape == (48, net.backbone.num_features)
    assert len(calls) == 2
    assert not torch.equal(found.values[:24].sum(0), found.values[24:].sum(0))
    first = features_of(net, made, made.batches(0), Numerics("cpu", "float32"), lambda: None)
    assert not torch.equal(first.values.sum(0), found.values[:24].sum(0))


def test_what_is_cached_can_be_learned_from() -> None:
    net, made = adapted("probe"), feed()
    found = features_of(net, made, made.held_out(), Numerics("cpu", "float32"), lambda: None)
    functional.cross_entropy(net.head(found.values), found.labels).backward()
    assert net.head.weight.grad is not None

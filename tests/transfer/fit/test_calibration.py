from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional

from paceline.transfer.fit.calibration import SHARPEST, SOFTEST, best_sharpness, judged


def drawn(scale: float, num: int = 300) -> tuple[Tensor, Tensor]:
    """Logits that are right as often as they say, times ``scale``."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(num, 5, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return logits * scale, labels


@pytest.mark.parametrize("scale", [0.7, 1.0, 20.0])
def test_it_is_the_best_there_is(scale: float) -> None:
    logits, labels = drawn(scale)
    found = minimize_scalar(
        lambda log: float(functional.cross_entropy(logits.double() * float(np.exp(log)), labels)),
        bounds=(-4, 1),
        method="bounded",
    )
    assert best_sharpness(logits, labels) == pytest.approx(float(np.exp(found.x)), rel=1e-2)


def test_the_scale_of_logits_makes_no_difference() -> None:
    plain, sharp = judged(*drawn(1.0)), judged(*drawn(10.0))
    assert plain.loss == pytest.approx(sharp.loss, rel=1e-5)
    assert plain.top1 == sharp.top1
    assert sharp.sharpness == pytest.approx(plain.sharpness / 10, rel=1e-4)


def test_it_stays_within_bounds() -> None:
    sure, labels = torch.eye(3) * 5, torch.arange(3)
    assert best_sharpness(sure, labels) == pytest.approx(SHARPEST, rel=1e-3)
    assert best_sharpness(sure, labels.roll(1)) == pytest.approx(SOFTEST, rel=1e-3)


def test_weights_count() -> None:
    logits, labels = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1])
    light = judged(logits, labels, torch.tensor([1.0, 0.1]))
    heavy = judged(logits, labels, torch.tensor([0.1, 1.0]))
    assert light.loss < heavy.loss
    assert light.sharpness > heavy.sharpness

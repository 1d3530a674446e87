from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from paceline.transfer.backbone.backbone import Backbone, build
from training.vision.planted import Planted, distractors, plant, recall, with_distractor


@pytest.fixture(scope="module")
def base() -> Backbone:
    """Random weights and norms that are no identity."""
    torch.manual_seed(0)
    base = build("glyphnet", num_inputs=1)
    for unit in base.units:
        unit.norm.running_mean.normal_(0, 0.1)
        unit.norm.running_var.uniform_(0.5, 2)
        unit.norm.weight.data.uniform_(0.5, 1.5)
        unit.norm.bias.data.normal_(0, 0.2)
    return base


@pytest.fixture(scope="module")
def planted(base: Backbone) -> Planted:
    return plant(base, num_pictures=128)


def test_the_bases_lane_computes_what_the_base_does(base: Backbone, planted: Planted) -> None:
    alone = copy.deepcopy(base)
    for unit, wide in zip(alone.units, planted.backbone.units, strict=True):
        unit.norm.running_mean.copy_(wide.norm.running_mean[: unit.conv.out_channels])
        unit.norm.running_var.copy_(wide.norm.running_var[: unit.conv.out_channels])
    x = torch.randn(4, 3, 64, 64)
    features = planted.backbone(x)[:, : base.num_features]
    torch.testing.assert_close(features, alone(x[:, :1]), rtol=1e-3, atol=1e-4)


def test_the_planted_lane_sees_the_distractor_alone(base: Backbone, planted: Planted) -> None:
    x = torch.randn(4, 3, 64, 64)
    other = x.clone()
    other[:, 0] = torch.randn(4, 64, 64)
    other[:, 2] = 3.0
    lane = slice(base.num_features, None)
    before = planted.backbone(x)[:, lane]
    assert torch.equal(planted.backbone(other)[:, lane], before)
    other[:, 1] = torch.randn(4, 64, 64)
    assert not torch.allclose(planted.backbone(other)[:, lane], before)


def test_a_third_of_every_units_channels_is_planted(planted: Planted) -> None:
    assert set(planted.irrelevant) == {unit.name for unit in planted.backbone.units}
    assert all(3 * mask.sum() == len(mask) for mask in planted.irrelevant.values())


def test_what_is_blind_to_labels_cannot_tell_them(base: Backbone, planted: Planted) -> None:
    """Norms, gamma and beta of the planted are among those of the base, so a ranking by them is at chance."""
    for old, new in zip(base.units, planted.backbone.units, strict=True):
        mask = torch.from_numpy(planted.irrelevant[new.name])
        theirs = old.conv.weight.abs().sum((1, 2, 3))
        for norm in new.conv.weight.abs().sum((1, 2, 3))[mask]:
            assert (theirs - norm).abs().min() < 1e-4 * norm
        assert set(new.norm.weight[mask].tolist()) <= set(old.norm.weight.tolist())
        assert set(new.norm.bias[mask].tolist()) <= set(old.norm.bias.tolist())
    norms = {unit.name: unit.conv.weight.abs().sum((1, 2, 3)).numpy() for unit in planted.backbone.units}
    assert recall(norms, planted) == pytest.approx(0.5, abs=0.1)


def test_recall_counts_the_planted_among_the_lowest(planted: Planted) -> None:
    perfect = {name: 1.0 - mask for name, mask in planted.irrelevant.items()}
    assert recall(perfect, planted, share=1 / 3) == 1.0
    assert recall({name: -score for name, score in perfect.items()}, planted) == 0.0


def test_a_distractor_says_nothing_of_the_picture() -> None:
    images = np.random.default_rng(0).integers(0, 256, (24, 1, 64, 64), dtype=np.uint8)
    pair = with_distractor(images, seed=3)
    assert np.array_equal(pair[:, :1], images)
    assert np.array_equal(pair[:, 1:2], distractors(24, seed=3))  # drawn without looking at them
    assert not np.array_equal(distractors(24, seed=3), distractors(24, seed=4))

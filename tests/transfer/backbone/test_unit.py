from __future__ import annotations

import pytest
import torch
from torch import nn

from paceline.errors import ConfigError
from paceline.transfer.backbone.unit import FrozenBatchNorm2d, Unit, affine


def filled(norm: FrozenBatchNorm2d | nn.BatchNorm2d) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)


def test_it_has_the_names_and_the_answers_of_torch() -> None:
    theirs = nn.BatchNorm2d(4).eval()
    filled(theirs)
    ours = FrozenBatchNorm2d(4)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 4, 5, 5)
    assert torch.equal(ours(x), theirs(x))


def test_training_moves_nothing() -> None:
    norm = FrozenBatchNorm2d(4).train()
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    x = torch.randn(8, 4, 3, 3) * 3 + 1
    trained = norm(x)
    assert all(torch.equal(tensor, before[name]) for name, tensor in norm.state_dict().items())
    assert torch.equal(trained, norm.eval()(x))
    assert not any(parameter.requires_grad for parameter in norm.parameters())


@pytest.mark.parametrize("make", [FrozenBatchNorm2d, nn.BatchNorm2d])
def test_its_scale_and_shift_are_what_it_does(make: type[FrozenBatchNorm2d] | type[nn.BatchNorm2d]) -> None:
    norm = make(4).eval()
    filled(norm)
    x = torch.randn(3, 4, 5, 5)
    scale, shift = affine(norm)
    torch.testing.assert_close(x * scale[:, None, None] + shift[:, None, None], norm(x))


@pytest.mark.parametrize(("norm", "words"), [(nn.BatchNorm2d(4), "statistics of its batch"), (nn.Identity(), "folded")])
def test_a_norm_that_is_not_frozen_is_refused_by_name(norm: nn.BatchNorm2d | nn.Identity, words: str) -> None:
    unit = Unit("layer1.0.conv1", nn.Conv2d(3, 4, 1), norm, 1)
    with pytest.raises(ConfigError, match=rf"layer1\.0\.conv1 .*{words}"):
        _ = unit.frozen_norm

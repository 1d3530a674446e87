from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from paceline.errors import ConfigError
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.unit import FrozenBatchNorm2d
from paceline.transfer.fold import FoldedNet, fold
from paceline.transfer.gates.gate import Gate
from tests.transfer.gates.test_gates import BACKBONES, FOLDABLE, backbone, moved


def adapted(kind: str = "bottleneck", gate: str | None = "affine", from_stage: str = "stem") -> AdaptedNet:
    return moved(AdaptedNet(backbone(kind), 3, gate, from_stage)).eval()


def difference(net: nn.Module, other: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        expected = net(x)
        return float((other(x) - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("gate", [None, *FOLDABLE])
def test_answers_are_the_same(gate: str | None, kind: str) -> None:
    net, x = adapted(kind, gate), torch.randn(3, 1, 64, 64)
    before = net(x)
    folded = fold(net)
    assert difference(net, folded, x) <= 1e-5
    assert torch.equal(net(x), before)
    assert torch.equal(folded.head(folded.features(x)), folded(x))


def test_late_gates_fold_too() -> None:
    net, x = adapted(from_stage="layer3"), torch.randn(3, 1, 64, 64)
    assert difference(net, fold(net), x) <= 1e-5


def test_a_network_of_batch_norms_folds_by_its_running_statistics() -> None:
    net, x = AdaptedNet(backbone("bottleneck", norm="batch"), 3, None).eval(), torch.randn(3, 1, 64, 64)
    assert difference(net, fold(net), x) <= 1e-5


def test_it_is_of_convolutions_and_a_head_that_share_nothing() -> None:
    net = adapted()
    folded = fold(net)
    assert not any(isinstance(module, (FrozenBatchNorm2d, nn.BatchNorm2d, Gate)) for module in folded.modules())
    names = [f"backbone.{unit.name}" for unit in net.backbone.units] + ["head"]
    assert set(folded.state_dict()) == {f"{name}.{part}" for name in names for part in ("weight", "bias")}
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    own = {tensor.data_ptr() for tensor in net.state_dict().values()}
    assert own.isdisjoint(tensor.data_ptr() for tensor in folded.state_dict().values())


def test_its_state_loads_into_another() -> None:
    net, x = adapted(), torch.randn(2, 1, 32, 32)
    folded, other = fold(net), fold(adapted(gate="out"))
    other.load_state_dict(folded.state_dict())
    assert torch.equal(other(x), folded(x))


def test_what_cannot_be_folded_says_so() -> None:
    with pytest.raises(ConfigError, match="dynamic"):
        fold(adapted(gate="dynamic"))


def test_gates_do_not_sit_in_a_folded_network() -> None:
    with pytest.raises(ConfigError, match="folded"):
        AdaptedNet(fold(adapted()).backbone, 3)


def test_it_can_be_exported_for_any_number_of_pictures() -> None:
    folded = fold(adapted())
    batch: Any = torch.export.Dim("batch", min=1)
    program = torch.export.export(folded, (torch.randn(2, 1, 32, 32),), dynamic_shapes=({0: batch},))
    x = torch.randn(5, 1, 32, 32)
    torch.testing.assert_close(program.module()(x), folded(x))


@pytest.mark.parametrize("kind", BACKBONES)
def test_it_can_be_pruned_structurally(kind: str) -> None:
    pruning = pytest.importorskip("torch_pruning")
    folded, x = fold(adapted(kind)), torch.randn(2, 1, 32, 32)
    before = num_parameters(folded)
    folded.requires_grad_(True)
    pruner = pruning.pruner.BasePruner(
        folded,
        x,
        importance=pruning.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.5,
        ignored_layers=[folded.head],
    )
    pruner.step()
    assert num_parameters(folded) < 0.5 * before
    assert folded(x).shape == (2, 3)


def num_parameters(net: FoldedNet) -> int:
    return sum(parameter.numel() for parameter in net.parameters())

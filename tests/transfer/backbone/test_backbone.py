from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from paceline.errors import ConfigError
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.backbone import BACKBONES, Backbone, Preprocessing, build
from paceline.transfer.backbone.mobilenet import MobileNetV2
from paceline.transfer.backbone.resnet import ResNet


def small(arch: str) -> Backbone:
    torch.manual_seed(0)
    if arch == "mobilenet_v2":
        return MobileNetV2(width=8, num_inputs=1)
    block = "basic" if arch in ("resnet18", "resnet34") else "bottleneck"
    return ResNet(arch, (1, 2, 1, 1), block, width=4, num_inputs=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("arch", BACKBONES)
def test_units_are_all_convolutions_in_the_order_in_which_they_run(arch: str) -> None:
    net = small(arch)
    called: list[nn.Module] = []
    names = {module: name for name, module in net.named_modules()}
    hooks = [unit.conv.register_forward_hook(lambda conv, *_: called.append(conv)) for unit in net.units]
    net(torch.randn(2, 1, 32, 32))
    for hook in hooks:
        hook.remove()
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert [names[conv] for conv in called] == [unit.name for unit in net.units]
    assert {id(conv) for conv in called} == {id(conv) for conv in convolutions}
    assert [unit.stage for unit in net.units] == sorted(unit.stage for unit in net.units)


@pytest.mark.parametrize("arch", BACKBONES)
def test_stages_one_by_one_are_the_whole(arch: str) -> None:
    net, x = small(arch), torch.randn(2, 1, 32, 32)
    whole = net(x)
    assert whole.shape == (2, net.num_features)
    for cut in range(len(net.stage_names)):
        assert torch.equal(net.pool(net.run(net.run(x, 0, cut), cut + 1)), whole)
    assert torch.equal(net.run(x, 0, -1), x)


@pytest.mark.parametrize("arch", BACKBONES)
def test_nothing_is_learned_and_no_statistics_move_unless_asked(arch: str) -> None:
    net = small(arch).train()
    before = copy.deepcopy(net.state_dict())
    net(torch.randn(4, 1, 32, 32))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_batch_norms_are_for_training_from_nothing() -> None:
    net = build("resnet18", norm="batch")
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert {type(unit.norm) for unit in net.units} == {nn.BatchNorm2d}


def test_a_copy_shares_tensors_and_not_gates() -> None:
    net = AdaptedNet(small("glyphnet"), 3)
    gates = [unit.gate for unit in net.backbone.units]
    other = net.backbone.copied()
    assert all(unit.gate is None for unit in other.units)
    assert [unit.gate for unit in net.backbone.units] == gates
    own, theirs = net.backbone.state_dict(keep_vars=True), other.state_dict(keep_vars=True)
    assert [*own] == [*theirs]
    assert all(own[name] is theirs[name] for name in own)
    assert {id(module) for module in net.backbone.modules()}.isdisjoint(id(module) for module in other.modules())
    assert all(unit.conv is other.get_submodule(unit.name) for unit in other.units)


@pytest.mark.parametrize("arch", BACKBONES)
def test_without_norms_only_convolutions_are_left(arch: str) -> None:
    net = small(arch)
    bare = net.without_norms()
    assert [*bare.state_dict()] == [f"{unit.name}.weight" for unit in sorted_as(bare, net)]
    assert len(net.state_dict()) == 6 * len(net.units)  # a kernel and five of the norm
    assert bare(torch.randn(2, 1, 32, 32)).shape == (2, net.num_features)


def sorted_as(bare: Backbone, net: Backbone) -> list[object]:
    places = {name: place for place, name in enumerate(net.state_dict())}
    return sorted(bare.units, key=lambda unit: places[f"{unit.name}.weight"])


def test_unknown_names_are_told() -> None:
    with pytest.raises(ConfigError, match="resnet50"):
        build("resnet52")
    with pytest.raises(ConfigError, match="layer4"):
        build("resnet18").stage_index("layer5")


@pytest.mark.parametrize(
    "odd",
    [
        {"size": 0},
        {"size": 64, "resize": 32},
        {"mean": (0.5, 0.5)},
        {"mean": (0.5,)},
        {"std": (0.0, 1.0, 1.0)},
    ],
)
def test_preprocessing_that_cannot_be(odd: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Preprocessing(**odd)  # type: ignore[arg-type]

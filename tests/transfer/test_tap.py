from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from paceline.errors import ConfigError
from paceline.transfer.backbone.backbone import BACKBONES, build
from paceline.transfer.tap import evaluating, gate_of, inner_units, tapped
from tests.transfer.small_net import small_net


def test_a_tap_is_gone_after_a_failure_too() -> None:
    net = small_net()
    gates = [unit.gate for unit in net.backbone.units]
    with pytest.raises(RuntimeError, match="inside"), tapped(net.backbone, {"conv1": lambda y: y}):
        raise RuntimeError("inside")
    assert [unit.gate for unit in net.backbone.units] == gates


def test_taps_nest_and_the_gate_stays_behind_them() -> None:
    net, x = small_net(), torch.randn(1, 1, 32, 32)
    stem = net.backbone.units[0]
    gate, before = stem.gate, stem(x)
    with tapped(net.backbone, {"conv1": lambda y: y + 1}), tapped(net.backbone, {"conv1": lambda y: y * 2}):
        assert torch.equal(stem(x), (before + 1) * 2)
        assert gate_of(stem) is gate
    assert torch.equal(stem(x), before)


def test_an_unknown_unit_is_named() -> None:
    with (
        pytest.raises(ConfigError, match=r"no unit 'conv9'; known: conv1, layer1\.0\.conv1"),
        tapped(small_net().backbone, {"conv9": lambda y: y}),
    ):
        pass


def test_training_is_what_it_was_afterwards() -> None:
    net = small_net()
    net.head.train()
    with evaluating(net):
        assert not net.head.training
    assert net.head.training
    assert not net.backbone.training


@pytest.mark.parametrize("arch", ["resnet18", "glyphnet", "mobilenet_v2"])
def test_inner_units_are_read_by_one_convolution_alone(arch: str) -> None:
    """Against the network itself: what an inner unit says reaches the output through the next unit only."""
    if arch not in BACKBONES:
        pytest.skip("no such network")
    backbone = build(arch).eval()
    inner = set(inner_units(backbone))
    units = [unit for unit in backbone.units if "downsample" not in unit.name]
    x = torch.randn(1, 3, 32, 32)
    for unit, following in pairwise(units):
        if unit.name in inner:
            silent, heard = [], []
            with torch.no_grad(), tapped(backbone, {following.name: lambda y, into=silent: into.append(y) or y * 0}):
                one = backbone(x)
                with tapped(backbone, {unit.name: lambda y, into=heard: into.append(y) or y + 1}):
                    assert torch.equal(backbone(x), one)
            assert not torch.equal(silent[0], silent[1])
    assert inner
    assert not {units[0].name, units[-1].name} & inner

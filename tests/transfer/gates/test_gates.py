"""All gates on all kinds of networks: what a new gate has to hold to."""

from __future__ import annotations

import pytest
import torch

from paceline.errors import ConfigError
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.backbone import Backbone, build
from paceline.transfer.backbone.mobilenet import MobileNetV2
from paceline.transfer.backbone.resnet import ResNet
from paceline.transfer.gates.gate import GATES, Gate, tables

FOLDABLE = [name for name in GATES if name != "dynamic"]
BACKBONES = ["basic", "bottleneck", "mobilenet"]


def backbone(kind: str, norm: str = "frozen") -> Backbone:
    torch.manual_seed(0)
    if kind == "mobilenet":
        made: Backbone = MobileNetV2(width=8, num_inputs=1, norm=norm)  # type: ignore[arg-type]
    else:
        made = ResNet("resnet18", (1, 1, 1, 1), kind, width=4, num_inputs=1, norm=norm)  # type: ignore[arg-type]
    with torch.no_grad():
        for unit in made.units:
            unit.norm.weight.uniform_(0.5, 1.5)
            unit.norm.bias.normal_(0.0, 0.2)
            unit.norm.running_mean.normal_(0.0, 0.2)  # type: ignore[union-attr]
            unit.norm.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
    return made


def moved(net: AdaptedNet) -> AdaptedNet:
    with torch.no_grad():
        for parameter in net.gates.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("gate", GATES)
def test_at_first_it_changes_no_bit(gate: str, kind: str) -> None:
    base, x = backbone(kind), torch.randn(2, 1, 32, 32)
    before = base(x)
    net = AdaptedNet(base, 3, gate)
    assert len(net.gates) == len(base.units)
    assert torch.equal(net.backbone(x), before)
    assert not torch.equal(moved(net).backbone(x), before)


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("gate", GATES)
def test_only_gates_and_head_learn_and_nothing_else_moves(gate: str, kind: str) -> None:
    net = moved(AdaptedNet(backbone(kind), 3, gate)).train()
    before = {name: tensor.clone() for name, tensor in net.backbone.state_dict().items()}
    optimiser = torch.optim.SGD([each for each in net.parameters() if each.requires_grad], lr=0.1)
    torch.nn.functional.cross_entropy(net(torch.randn(4, 1, 32, 32)), torch.tensor([0, 1, 2, 0])).backward()
    with_gradient = {name for name, each in net.named_parameters() if each.grad is not None}
    assert with_gradient == {name for name, _ in net.named_parameters() if name.startswith(("gates.", "head."))}
    optimiser.step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.backbone.state_dict().items())


@pytest.mark.parametrize("gate", GATES)
def test_it_is_refused_before_a_norm_of_batch_statistics(gate: str) -> None:
    with pytest.raises(ConfigError, match=r"conv1 normalises by the statistics of its batch.*norm='frozen'"):
        AdaptedNet(backbone("bottleneck", norm="batch"), 3, gate)


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("gate", FOLDABLE)
def test_kernel_scale_and_shift_are_what_it_does(gate: str, kind: str) -> None:
    net = moved(AdaptedNet(backbone(kind), 3, gate)).eval()
    for unit, own in net.gated():
        x = torch.randn(2, unit.conv.in_channels, 7, 7)
        kernel, scale, shift = tables(unit)
        assert kernel.shape == unit.conv.weight.shape
        expected = unit.conv._conv_forward(x, kernel, None) * scale[:, None, None] + shift[:, None, None]
        torch.testing.assert_close(own(unit, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gate", GATES)
def test_mixable_ones_leave_the_kernel_as_it_is(gate: str) -> None:
    net = moved(AdaptedNet(backbone("basic"), 3, gate))
    assert all((own.kernel(unit) is unit.conv.weight) or not own.mixable for unit, own in net.gated())


def test_a_unit_without_a_gate_has_tables_too() -> None:
    unit = backbone("basic").units[0]
    kernel, scale, _ = tables(unit)
    assert kernel is unit.conv.weight
    torch.testing.assert_close(scale, unit.frozen_norm.affine()[0])


def test_what_depends_on_the_input_has_no_tables() -> None:
    net = AdaptedNet(backbone("basic"), 3, "dynamic")
    with pytest.raises(ConfigError, match="dynamic"):
        tables(net.backbone.units[0])


@pytest.mark.parametrize(
    ("gate", "expected"), [("affine", 53_120), ("out", 26_560), ("full", 13_385_920), ("lora", 317_772)]
)
def test_numbers_of_parameters_on_resnet_50(gate: str, expected: int) -> None:
    with torch.device("meta"):
        net = AdaptedNet(build("resnet50"), 20, gate)
    assert sum(unit.conv.out_channels for unit in net.backbone.units) == 26_560
    assert len(net.gates) == len(net.backbone.units) == 53
    assert sum(parameter.numel() for parameter in net.gates.parameters()) == expected


def test_scales_are_one_at_first() -> None:
    for name in GATES:
        scales = [gate.scale() for _, gate in AdaptedNet(backbone("basic"), 3, name).gated()]
        assert all(scale is None or bool((scale == 1).all()) for scale in scales)
        assert issubclass(GATES[name], Gate)
        assert GATES[name].name == name

from __future__ import annotations

import pytest
import torch

from paceline.errors import ConfigError
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.resnet import ResNet


def backbone() -> ResNet:
    torch.manual_seed(0)
    return ResNet("glyphnet", (1, 1, 1, 1), "bottleneck", width=4, num_inputs=1)


@pytest.mark.parametrize("from_stage", ["stem", "layer1", "layer3", "layer4"])
def test_gates_sit_from_their_stage_on_and_what_comes_before_may_be_kept(from_stage: str) -> None:
    net = AdaptedNet(backbone(), 3, "affine", from_stage).eval()
    assert {unit.stage for unit, _ in net.gated()} == set(range(net.first_stage, 5))
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(net.from_prefix(net.prefix(x)), net(x))
    with torch.no_grad():
        prefix = net.prefix(x)
        for parameter in net.gates.parameters():
            parameter.add_(0.1)
    assert torch.equal(net.prefix(x), prefix)


def test_without_a_gate_the_head_alone_learns() -> None:
    net = AdaptedNet(backbone(), 3, None)
    assert [name for name, parameter in net.named_parameters() if parameter.requires_grad] == [
        "head.weight",
        "head.bias",
    ]


def test_a_second_net_takes_the_units_for_itself() -> None:
    base = backbone()
    first = AdaptedNet(base, 3)
    AdaptedNet(base, 3, None)
    assert list(first.gated()) == []


@pytest.mark.parametrize("options", [{"num_classes": 1}, {"gate": "afine"}, {"from_stage": "layer9"}])
def test_options_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        AdaptedNet(**({"backbone": backbone(), "num_classes": 3} | options))  # type: ignore[arg-type]

from __future__ import annotations

import pytest
import torch

from paceline.errors import ConfigError
from paceline.transfer.gates.gate import GATES
from paceline.transfer.methods import METHODS, prepare
from tests.transfer.fit.made import NUM_CLASSES, base


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_told_by_its_name_and_trains_what_it_says(name: str) -> None:
    method = METHODS[name]
    assert method.name == name
    net = method.make(base(), NUM_CLASSES)
    learned = {parameter_name.split(".")[0] for parameter_name, p in net.named_parameters() if p.requires_grad}
    assert learned == {"head": {"head"}, "gates": {"gates", "head"}, "all": {"backbone", "head"}}[method.trains]
    assert (method.gate is not None) == (method.trains == "gates")
    assert method.trains == "head" or 0 < method.learning_rate < 1


def test_each_gate_has_a_method_of_its_name() -> None:
    assert {METHODS[name].gate for name in METHODS} >= set(GATES)
    assert all(METHODS[name].gate == name for name in GATES)


def test_a_network_shares_nothing_with_its_base() -> None:
    held = base()
    before = {name: tensor.clone() for name, tensor in held.backbone.state_dict().items()}
    net = METHODS["full_finetune"].make(held, NUM_CLASSES)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in held.backbone.state_dict().items())
    assert not any(parameter.requires_grad for parameter in held.backbone.parameters())


def test_the_seed_decides_what_is_random_and_nothing_else_does() -> None:
    held = base()
    state = torch.random.get_rng_state()
    one, two, other = (METHODS["lora"].make(held, NUM_CLASSES, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(one.head.weight, two.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)


@pytest.mark.parametrize("name", ["affine", "full_finetune"])
def test_stages_before_the_scope_learn_nothing(name: str) -> None:
    net = METHODS[name].make(base(), NUM_CLASSES, from_stage="layer4")
    learned = [parameter_name for parameter_name, p in net.named_parameters() if p.requires_grad]
    assert any("layer4" in parameter_name for parameter_name in learned)
    assert not any(
        stage in parameter_name for parameter_name in learned for stage in ("layer3", "conv1/", "backbone.conv1")
    )


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown method 'afine'; did you mean 'affine'"):
        METHODS["afine"]


def test_preparing_again_changes_nothing() -> None:
    net = METHODS["affine"].make(base(), NUM_CLASSES)
    before = [p.requires_grad for p in net.parameters()]
    assert [p.requires_grad for p in prepare(net, METHODS["affine"]).parameters()] == before

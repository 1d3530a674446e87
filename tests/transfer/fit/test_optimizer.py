from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from paceline.transfer.fit.optimizer import CLIP_NORM, clip, make_optimizer, set_rate, shrink
from tests.transfer.fit.made import adapted, learner, options


def test_gates_norms_and_biases_do_not_decay() -> None:
    for method in ("affine", "lora", "full_finetune"):
        net = adapted(method)
        optimizer = make_optimizer(net, options(weight_decay=0.5), 1.0)
        by_id = {id(parameter): name for name, parameter in net.named_parameters()}
        for group in optimizer.param_groups:
            names = [by_id[id(parameter)] for parameter in group["params"]]
            for name in names:
                kernel = name == "head.weight" or (name.startswith("backbone.") and net.get_parameter(name).ndim == 4)
                assert group["weight_decay"] == (0.5 if kernel else 0.0), name


def test_the_head_has_its_share_of_the_rate() -> None:
    net = adapted("affine")
    optimizer = make_optimizer(net, options(), 0.1)
    set_rate(optimizer, 1e-2)
    heads = {id(parameter) for parameter in net.head.parameters()}
    for group in optimizer.param_groups:
        is_head = {id(parameter) in heads for parameter in group["params"]}
        assert is_head == {group["lr"] == pytest.approx(1e-3)}


def test_gradients_are_clipped_as_one() -> None:
    made = learner()
    inputs, labels = next(made.feed.batches(1))
    (1000 * functional.cross_entropy(made.net(inputs), labels)).backward()
    clip(made.net)
    squares = sum(float(p.grad.square().sum()) for p in made.net.parameters() if p.grad is not None)
    assert squares**0.5 == pytest.approx(CLIP_NORM, rel=1e-3)


def test_shrinking_moves_each_scale_by_one_length_and_stops_at_zero() -> None:
    made = learner()
    inputs, labels = next(made.feed.batches(1))
    made.step(inputs, labels, 1e-3, 0)
    gates = list(made.net.gates.values())
    with torch.no_grad():
        gates[0].scale_delta.fill_(-1.0)  # switched off
        gates[1].scale_delta.fill_(-1.5)  # negative
    before = torch.cat([gate.scale() for gate in gates])
    shrink(made.net, made.optimizer, 1e9, 0.01)  # so strong that the length is a whole step
    after = torch.cat([gate.scale() for gate in gates])
    torch.testing.assert_close(after, torch.sign(before) * (before.abs() - 0.01).clamp_min(0), atol=1e-6, rtol=0)


def test_shrinking_before_the_first_gradient_does_nothing() -> None:
    made = learner()
    shrink(made.net, made.optimizer, 1.0, 0.01)
    assert all(bool((gate.scale() == 1).all()) for gate in made.net.gates.values())


def test_a_scale_that_no_gradient_moves_is_moved_no_further_than_others() -> None:
    made = learner(given=options(l1=0.01))
    idle = made.net.gates["layer4/0/conv2"]
    with torch.no_grad():
        made.net.backbone.get_parameter("layer4.0.bn2.weight").zero_()  # nothing that this gate does reaches the loss
    inputs, labels = next(made.feed.batches(1))
    made.step(inputs, labels, 1e-2, 0)
    moved = idle.scale_delta.detach().abs()
    assert 0 < float(moved.max()) < 0.9e-2
    assert torch.equal(moved, moved[0].expand_as(moved))

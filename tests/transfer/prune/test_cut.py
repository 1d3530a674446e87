from __future__ import annotations

import copy

import msgspec
import pytest
import torch
from torch import nn

from paceline.errors import ConfigError, ExecutionError
from paceline.transfer.fold import FoldedNet, fold
from paceline.transfer.prune.cost import LayerCost, num_macs
from paceline.transfer.prune.coupling import Coupling, Group
from paceline.transfer.prune.cut import MIN_WIDTH, PruneOptions, choose, group_scores, prune
from paceline.transfer.prune.readers import absorb, mean_inputs
from tests.transfer.small_net import SIDE, batches, small_net

EXAMPLE = torch.zeros(1, 1, SIDE, SIDE)
A, B = Group("a", 8, ("a",), ("b",)), Group("b", 8, ("b",), ("c",))
COSTS = {
    "a": LayerCost(1, 8, 100, False, (1, 4, 4)),
    "b": LayerCost(8, 8, 10, False, (8, 4, 4)),
    "c": LayerCost(8, 2, 10, False, (8, 4, 4)),
}
PRICES = {A: 180.0, B: 100.0}


def folded() -> FoldedNet:
    return fold(small_net())


@pytest.mark.parametrize("macs", [0.9, 0.5, 0.3])
def test_what_is_left_is_what_was_asked_for(macs: float) -> None:
    pytest.importorskip("torch_pruning")
    net = folded()
    before = copy.deepcopy(net.state_dict())
    small = prune(net, batches(), PruneOptions(macs=macs, num_steps=2))
    share = num_macs(small, EXAMPLE) / num_macs(net, EXAMPLE)
    assert macs - 0.03 < share <= macs
    assert small(torch.randn(5, 1, SIDE, SIDE)).shape == (5, 3)
    assert all(
        torch.equal(before[name], tensor) for name, tensor in net.state_dict().items()
    )  # the whole one is left alone
    assert small.backbone.conv1.in_channels == 1
    assert small.head.out_features == 3


def test_widths_can_be_multiples() -> None:
    pytest.importorskip("torch_pruning")
    small = prune(fold(small_net(width=16)), batches(), PruneOptions(macs=0.6, num_steps=2, round_to=4))
    assert all(conv.out_channels % 4 == 0 for conv in small.modules() if isinstance(conv, nn.Conv2d))
    assert num_macs(small, EXAMPLE) <= 0.6 * num_macs(fold(small_net(width=16)), EXAMPLE)


def test_cutting_constant_channels_changes_nothing() -> None:
    """Those of ``conv2`` are read by a 1 x 1 convolution, so nothing is padded and nothing is lost."""
    pytest.importorskip("torch_pruning")
    net, data = folded(), batches()
    conv = net.backbone.get_submodule("layer2.0.conv2")
    with torch.no_grad():
        conv.weight[:5] = 0.0
        conv.bias[:5] = torch.tensor([0.5, 2.0, -1.0, 0.1, 1.0])
    x = torch.randn(8, 1, SIDE, SIDE)
    before = net(x)
    coupling = Coupling(net, EXAMPLE, [net.head])
    group = next(group for group in coupling.groups if group.root == "backbone.layer2.0.conv2")
    absorb(net.backbone.get_submodule("layer2.0.conv3"), mean_inputs(net, data)["backbone.layer2.0.conv3"], range(5))
    coupling.cut(group, range(5))
    assert conv.out_channels == 16 - 5
    torch.testing.assert_close(net(x), before, rtol=1e-5, atol=1e-5)


def test_constant_channels_are_worth_nothing() -> None:
    pytest.importorskip("torch_pruning")
    net, data = folded(), batches()
    conv = net.backbone.get_submodule("layer2.0.conv2")
    with torch.no_grad():
        conv.weight[::2] = 0.0
        conv.bias[::2] = 1.0
    groups = Coupling(net, EXAMPLE, [net.head]).groups
    scores = group_scores(net, groups, data, mean_inputs(net, data))
    mine = next(score for group, score in scores.items() if group.root == "backbone.layer2.0.conv2")
    assert mine[::2].max() < 1e-5 * mine[1::2].max()


def test_the_least_score_for_a_multiplication_goes_first() -> None:
    scores = {A: torch.full((8,), 10.0), B: torch.full((8,), 10.0)}  # a channel of A saves 180, one of B 100
    assert choose(scores, PRICES, COSTS, max_macs=1600 - 180) == {A: [0]}
    scores[B][6] = 1.0
    assert choose(scores, PRICES, COSTS, max_macs=1600 - 60) == {B: [6]}


def test_channels_go_in_blocks_whose_first_one_evens_the_width() -> None:
    group = Group("a", 11, ("a",), ("b",))
    costs = {"a": LayerCost(1, 11, 100, False, (1, 4, 4)), "b": LayerCost(11, 8, 10, False, (11, 4, 4))}
    scores = {group: torch.arange(11.0)}
    for num_left, max_macs in ((8, 11 * 180 - 1), (4, 8 * 180 - 1)):
        assert choose(scores, {group: 180.0}, costs, max_macs, round_to=4) == {group: list(range(11 - num_left))}


def test_importance_for_a_second_can_be_asked_for() -> None:
    pytest.importorskip("torch_pruning")
    net = folded()
    small = prune(net, batches(), PruneOptions(macs=0.7, num_steps=1, price="seconds"))
    assert num_macs(small, EXAMPLE) <= 0.7 * num_macs(net, EXAMPLE)


def test_every_group_keeps_some_channels() -> None:
    scores = {A: torch.zeros(8), B: torch.ones(8)}
    chosen = choose(scores, PRICES, COSTS, max_macs=700)
    assert len(chosen[A]) == 8 - MIN_WIDTH
    with pytest.raises(ExecutionError, match="cannot be cut to 10 multiplications"):
        choose(scores, PRICES, COSTS, max_macs=10)


def test_options_are_checked() -> None:
    for wrong in ({"macs": 0.0}, {"macs": 1.0}, {"num_steps": 0}, {"round_to": 0}, {"price": "watts"}):
        with pytest.raises(ConfigError):
            msgspec.structs.replace(PruneOptions(), **wrong)

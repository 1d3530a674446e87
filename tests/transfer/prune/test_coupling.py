from __future__ import annotations

import pytest
import torch

from paceline.transfer.fold import fold
from paceline.transfer.prune.cost import layer_costs
from paceline.transfer.prune.coupling import Coupling, Group
from tests.transfer.small_net import SIDE, small_net

pytest.importorskip("torch_pruning")
EXAMPLE = torch.zeros(1, 1, SIDE, SIDE)


def test_residual_channels_go_together_and_inner_ones_alone() -> None:
    net = fold(small_net())
    groups = {group.root: group for group in Coupling(net, EXAMPLE, [net.head]).groups}
    assert groups["backbone.layer2.0.conv1"] == Group(
        "backbone.layer2.0.conv1", 16, ("backbone.layer2.0.conv1",), ("backbone.layer2.0.conv2",)
    )
    last = next(group for group in groups.values() if "backbone.layer4.0.conv3" in group.writers)
    assert set(last.writers) == {"backbone.layer4.0.conv3", "backbone.layer4.0.downsample.0"}
    assert last.readers == ("head",)
    assert not any("head" in group.writers for group in groups.values())


def test_a_cut_saves_what_its_price_says() -> None:
    net = fold(small_net())
    coupling = Coupling(net, EXAMPLE, [net.head])
    before = layer_costs(net, EXAMPLE)
    group = next(group for group in coupling.groups if group.root == "backbone.layer3.0.conv2")
    coupling.cut(group, [5])
    after = layer_costs(net, EXAMPLE)
    saved = sum(cost.macs for cost in before.values()) - sum(cost.macs for cost in after.values())
    assert saved == group.saved_macs(before)
    assert net(EXAMPLE).shape == (1, 3)

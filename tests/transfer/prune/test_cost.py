from __future__ import annotations

import torch
from torch import nn

from paceline.transfer.backbone.backbone import build
from paceline.transfer.prune.cost import layer_costs, num_macs, num_parameters


def test_costs_are_counted_by_hand() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    costs = layer_costs(net, torch.zeros(4, 3, 16, 16))
    assert [cost.macs for cost in costs.values()] == [3 * 8 * 9 * 64, 8 * 9 * 64, 8 * 5]
    assert [cost.depthwise for cost in costs.values()] == [False, True, False]
    assert num_macs(net, torch.zeros(1, 3, 16, 16)) == 13824 + 4608 + 40
    assert num_parameters(net) == 8 * 28 + 8 * 10 + 45
    assert not any(module._forward_hooks for module in net.modules())


def test_a_resnet_50_costs_what_is_published() -> None:
    macs = num_macs(build("resnet50"), torch.zeros(1, 3, 224, 224))
    assert round(macs / 1e9, 2) == 4.09  # without its head

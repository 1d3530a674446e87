from __future__ import annotations

import torch
from torch import nn

from paceline.transfer.prune.cost import layer_costs
from paceline.transfer.prune.coupling import Group
from paceline.transfer.prune.latency import interleaved_s, seconds_saved


def test_networks_take_turns() -> None:
    order: list[str] = []

    class Told(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            order.append(self.name)
            return x

    seconds = interleaved_s({"a": Told("a"), "b": Told("b")}, torch.zeros(1), num_rounds=3)
    assert order == ["a", "b", "b", "a"] * 2  # the first round warms up
    assert set(seconds) == {"a", "b"}
    assert min(seconds.values()) > 0


def test_every_channel_has_a_price() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )
    costs = layer_costs(net, torch.zeros(1, 1, 16, 16))
    group = Group("0", 8, ("0", "1"), ("4",))
    saved = seconds_saved(net, (group,), costs, num_rows=2, num_rounds=2)
    assert 0 < saved[group] < 1

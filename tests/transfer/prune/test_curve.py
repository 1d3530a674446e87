from __future__ import annotations

import pytest
import torch
from torch import nn

from paceline.transfer.fold import fold
from paceline.transfer.prune.curve import pruning_curve
from paceline.transfer.prune.cut import PruneOptions
from tests.transfer.small_net import batches, small_net


def test_a_curve_begins_with_the_whole_network_and_is_healed_at_every_point() -> None:
    pytest.importorskip("torch_pruning")
    net, healed, kept = fold(small_net()), [], {}

    def heal(small: nn.Module, teacher: nn.Module) -> None:
        assert teacher is net
        healed.append(small)
        with torch.no_grad():
            small.head.bias += 1.0

    curve = pruning_curve(
        net,
        batches(),
        lambda network: float(network.head.bias[0]),
        heal,
        shares=(0.8, 0.5),
        options=PruneOptions(num_steps=1),
        keep=kept.__setitem__,
    )
    whole, first, second = curve.points
    assert [point.share for point in curve.points] == [1.0, 0.8, 0.5]
    assert whole.accuracy == whole.accuracy_cut == pytest.approx(float(net.head.bias[0]))
    for point in (first, second):
        assert point.accuracy == pytest.approx(point.accuracy_cut + 1.0)
        assert point.num_macs <= point.share * whole.num_macs
        assert point.num_parameters < whole.num_parameters
        assert point.num_bytes < whole.num_bytes
        assert point.latency_s > 0
    assert list(kept) == [0.8, 0.5]
    assert list(kept.values()) == healed
    assert curve.batch_size == 6

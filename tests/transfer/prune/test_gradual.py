from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from paceline.transfer.fold import fold
from paceline.transfer.prune.cost import num_macs
from paceline.transfer.prune.cut import PruneOptions
from paceline.transfer.prune.gradual import LEAST_OF_ROUND, prune_further, prune_gradually, rounds
from tests.transfer.small_net import SIDE, batches, small_net

EXAMPLE = torch.zeros(1, 1, SIDE, SIDE)


@pytest.mark.parametrize("macs", [0.95, 0.7, 0.69, 0.5, 0.3, 0.05])
def test_no_round_cuts_too_much_and_the_last_one_cuts_enough(macs: float) -> None:
    shares = (1.0, *rounds(macs))
    assert shares[-1] == macs
    assert all(after / before >= LEAST_OF_ROUND - 1e-6 for before, after in pairwise(shares))


def test_every_round_is_healed_with_the_whole_network_as_teacher() -> None:
    pytest.importorskip("torch_pruning")
    net, healed = fold(small_net()), []

    def heal(small: nn.Module, teacher: nn.Module) -> None:
        assert teacher is net
        assert small is not net
        healed.append(num_macs(small, EXAMPLE) / num_macs(net, EXAMPLE))

    small = prune_gradually(net, batches(), heal, PruneOptions(macs=0.45, num_steps=1))
    assert len(healed) == 3
    assert healed == sorted(healed, reverse=True)
    assert healed[-1] == num_macs(small, EXAMPLE) / num_macs(net, EXAMPLE)
    assert 0.4 < healed[-1] <= 0.45


def test_what_is_small_enough_is_left_alone() -> None:
    net = fold(small_net())
    left = prune_further(net, fold(small_net(width=16)), batches(), PruneOptions(macs=0.9))
    assert left is not net
    assert all(torch.equal(left.state_dict()[name], tensor) for name, tensor in net.state_dict().items())

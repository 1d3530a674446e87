from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from paceline.errors import ConfigError, ExecutionError
from paceline.transfer.fold import fold
from paceline.transfer.prune.heal import HealOptions, heal
from tests.transfer.small_net import batches, small_net


def always(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    yield from batches()


def test_a_hurt_network_learns_back_what_its_teacher_says() -> None:
    teacher, hurt = fold(small_net()), fold(small_net())
    with torch.no_grad():
        for parameter in hurt.parameters():
            parameter.mul_(1 + 0.3 * torch.randn(parameter.shape))
    x = torch.cat([each for each, _ in batches()])

    def distance() -> float:
        return float(functional.cross_entropy(hurt(x), teacher(x).softmax(1)))

    before = distance()
    heal(hurt, teacher, always, 2, HealOptions(num_epochs=10, teacher_share=1.0))
    assert distance() < before
    assert not any(parameter.requires_grad for parameter in hurt.parameters())


def test_epochs_are_asked_for_in_turn_and_the_teacher_is_left_alone() -> None:
    teacher, net, asked = fold(small_net()), fold(small_net()), []
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}

    def epochs(epoch: int) -> list[tuple[Tensor, Tensor]]:
        asked.append(epoch)
        return batches()

    heal(net, teacher, epochs, 2, HealOptions(num_epochs=3))
    assert asked == [0, 1, 2]
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())


def test_divergence_is_told_with_the_rate() -> None:
    net = fold(small_net())
    with torch.no_grad():
        net.head.bias.fill_(torch.nan)
    with pytest.raises(ExecutionError, match=r"epoch 0.*0\.001"):
        heal(net, fold(small_net()), always, 2, HealOptions())


@pytest.mark.parametrize(
    "wrong", [{"num_epochs": 0}, {"learning_rate": 0.0}, {"teacher_share": 1.5}, {"weight_decay": -1.0}]
)
def test_options_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        msgspec.structs.replace(HealOptions(), **wrong)

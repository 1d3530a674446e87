from __future__ import annotations

import pytest
import torch

from paceline.errors import ConfigError
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.mask import masked, masking_curve
from paceline.transfer.rank import rank
from paceline.transfer.ranking import Channel
from paceline.transfer.tap import inner_units, tapped
from tests.transfer.small_net import batches, small_net


def test_a_silenced_channel_says_nothing_not_even_its_shift() -> None:
    net, x, said = small_net(), torch.randn(2, 1, 32, 32), []
    with torch.no_grad():
        net.gates["layer1/0/conv1"].shift.fill_(3.0)
    channels = [Channel("layer1.0.conv1", 1), Channel("layer1.0.conv1", 4)]
    with masked(net, channels), tapped(net.backbone, {"layer1.0.conv1": lambda y: said.append(y) or y}):
        net(x)
    silent = [number for number in range(8) if not said[0][:, number].any()]
    assert silent == [1, 4]


def test_the_network_is_whole_again_after_a_failure() -> None:
    net, x = small_net(), torch.randn(1, 1, 32, 32)
    before = net(x)
    with masked(net, [Channel("conv1", 0)]):
        assert not torch.equal(net(x), before)
    with pytest.raises(RuntimeError, match="inside"), masked(net, [Channel("conv1", 0)]):
        raise RuntimeError("inside")
    assert torch.equal(net(x), before)


def test_a_network_without_gates_can_be_masked() -> None:
    net, x = small_net(None), torch.randn(1, 1, 32, 32)
    with masked(net, [Channel("conv1", 3)]):
        assert torch.isfinite(net(x)).all()


@pytest.mark.parametrize("number", [-1, 8])
def test_a_channel_that_is_not_there_is_named(number: int) -> None:
    with pytest.raises(ConfigError, match=f"channels 0 to 7, got {number}"):
        masked(small_net(), [Channel("conv1", number)])


def test_the_least_important_inner_channels_go_first() -> None:
    net = small_net()
    ranking = rank(net, batches())
    inner = ranking.within(inner_units(net.backbone))
    silenced = []

    def accuracy(masked_net: AdaptedNet) -> float:
        x = torch.randn(1, 1, 32, 32)
        said: list[int] = []
        counters = {
            unit: (lambda y: said.append(int((y == 0).all((0, 2, 3)).sum())) or y) for unit in inner_units(net.backbone)
        }
        with tapped(masked_net.backbone, counters):
            masked_net(x)
        silenced.append(sum(said))
        return 0.5

    points = masking_curve(net, ranking, accuracy, shares=(0.0, 0.1, 0.5))
    assert [point.num_masked for point in points] == silenced == [0, round(0.1 * len(inner)), round(0.5 * len(inner))]
    with pytest.raises(ConfigError, match=r"\[0, 1\], got 1.5"):
        masking_curve(net, ranking, accuracy, shares=(1.5,))

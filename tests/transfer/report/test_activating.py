from __future__ import annotations

import torch

from paceline.transfer.ranking import Channel
from paceline.transfer.report.activating import strongest
from paceline.transfer.tap import tapped
from tests.transfer.small_net import SIDE, batches, small_net


def test_pictures_are_those_with_the_highest_activations() -> None:
    net, data = small_net(), batches(12, 5)
    said = []
    with torch.no_grad(), tapped(net.backbone, {"layer1.0.conv2": lambda y: said.append(y.amax((2, 3))) or y}):
        for x, _ in data:
            net(x)
    highest = torch.cat(said)[:, 3]
    found = strongest(net, data, [Channel("conv1", 0), Channel("layer1.0.conv2", 3)], num=4)
    mine = found[Channel("layer1.0.conv2", 3)]
    assert [each.row for each in mine] == highest.argsort(descending=True)[:4].tolist()
    torch.testing.assert_close(torch.tensor([each.value for each in mine]), highest.sort(descending=True).values[:4])


def test_a_crop_holds_what_the_answer_depends_on() -> None:
    """One bright spot in one corner of each picture: a stem's filter answers there, and sees no more than 7 pixels."""
    net = small_net(None)
    x = torch.zeros(2, 1, SIDE, SIDE)
    x[0, 0, 4:8, 4:8], x[1, 0, 24:28, 24:28] = 3.0, 3.0
    (found,) = strongest(net, [(x, torch.tensor([0, 1]))], [Channel("conv1", 2)], num=2).values()
    for each in found:
        assert each.size == 12  # the least
        spot = 6 if each.row == 0 else 26
        assert each.top <= spot < each.top + each.size
        assert each.left <= spot < each.left + each.size


def test_crops_stay_inside_the_picture() -> None:
    found = strongest(small_net(), batches(), [Channel("layer4.0.conv3", 7), Channel("layer2.0.conv1", 1)])
    assert all(0 <= e.top <= SIDE - e.size and 0 <= e.left <= SIDE - e.size for each in found.values() for e in each)

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from paceline.transfer.prune.readers import absorb, mean_inputs, reader_gradients, reading
from tests.transfer.small_net import batches


def pair(padding: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=padding)).requires_grad_(
        False
    )


def silenced(net: nn.Sequential, channels: list[int]) -> nn.Sequential:
    net[0].weight[channels] = 0.0
    net[0].bias[channels] = 0.0
    return net


def test_mean_inputs_are_means_over_pictures() -> None:
    net, data = pair(), batches(12, 5)
    means = mean_inputs(net, data)
    x = torch.cat([each for each, _ in data])
    torch.testing.assert_close(means["0"], x.mean(0))
    torch.testing.assert_close(means["2"], net[:2](x).mean(0))


def test_a_constant_is_absorbed_exactly_where_nothing_is_padded() -> None:
    net, x = pair(padding=0), torch.randn(3, 1, 8, 8)
    net[0].weight[2] = 0.0
    net[0].bias[2] = 0.7  # says relu(0.7) everywhere
    before = net(x)
    absorb(net[2], mean_inputs(net, [(x, torch.zeros(3))])["2"], [2])
    torch.testing.assert_close(silenced(net, [2])(x), before, rtol=0, atol=1e-6)


def test_behind_padding_the_error_is_no_more_than_what_the_border_misses() -> None:
    net, x = pair(padding=1), torch.randn(3, 1, 8, 8)
    net[0].weight[2] = 0.0
    net[0].bias[2] = 0.7
    before = net(x)
    absorb(net[2], mean_inputs(net, [(x, torch.zeros(3))])["2"], [2])
    error = (silenced(net, [2])(x) - before).abs().amax((0, 2, 3))
    bound = 0.7 * net[2].weight[:, 2].abs().sum((1, 2))
    assert (error > 1e-6).all()
    assert (error <= bound).all()


def test_of_all_constants_the_absorbed_one_is_nearest() -> None:
    net, x = pair(), torch.randn(20, 1, 8, 8)
    before = net(x)
    absorb(net[2], mean_inputs(net, [(x, torch.zeros(20))])["2"], [1, 3])
    difference = silenced(net, [1, 3])(x) - before
    torch.testing.assert_close(difference.mean((0, 2, 3)), torch.zeros(2), rtol=0, atol=1e-6)


def test_gradients_foretell_what_cutting_does_to_the_loss() -> None:
    """To first order: the mean's neighbourhood is approached in small steps."""
    torch.manual_seed(0)
    net = nn.Sequential(*pair(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)).double().requires_grad_(False)
    ((x, labels),) = [(x.double(), labels) for x, labels in batches(4, 4)]
    means = mean_inputs(net, [(x, labels)])
    (gradients,) = reader_gradients(net, [(x, labels)], means)

    def loss(gate: float) -> torch.Tensor:
        def change(name: str, read: torch.Tensor) -> torch.Tensor:
            if name != "2":
                return read
            read = read.clone()
            read[:, 1] = means["2"][1] + gate * (read[:, 1] - means["2"][1])
            return read

        with reading(net, change):
            return functional.cross_entropy(net(x), labels, reduction="none")

    slope = (loss(1 + 1e-6) - loss(1 - 1e-6)) / 2e-6
    torch.testing.assert_close(gradients["2"][:, 1], slope, rtol=1e-4, atol=1e-8)


def test_no_hook_is_left_after_a_failure() -> None:
    net = pair()
    try:
        with reading(net, lambda name, x: x):
            raise RuntimeError("inside")
    except RuntimeError:
        pass
    assert not any(module._forward_pre_hooks for module in net.modules())

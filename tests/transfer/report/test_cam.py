from __future__ import annotations

import torch
from torch.nn import functional

from paceline.transfer.report.cam import grad_cam
from tests.transfer.small_net import batches, small_net


def test_heat_is_between_0_and_1_at_every_pixel_of_a_frozen_network() -> None:
    net, ((x, labels), *_) = small_net().requires_grad_(False), batches()
    heat = grad_cam(net, x, labels, stage=2)
    assert heat.shape == x[:, 0].shape
    assert heat.min() >= 0
    assert heat.amax() == 1.0
    assert not heat.requires_grad
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())


def test_before_the_pooling_it_is_the_class_activation_map() -> None:
    """There the gradient is the head's weight, so Grad-CAM is CAM (Zhou et al., 2015, arXiv 1512.04150)."""
    net, x = small_net().requires_grad_(False), torch.randn(1, 1, 96, 96)  # the last map is 3 x 3
    activation = net.backbone.run(x)
    expected = torch.einsum("k,bkhw->bhw", net.head.weight[2], activation).relu()
    expected = functional.interpolate(expected[None], (96, 96), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(grad_cam(net, x, torch.tensor([2]), stage=4), expected / expected.amax())


def test_the_last_large_map_is_taken() -> None:
    net, x, labels = small_net(), torch.randn(2, 1, 64, 64), torch.tensor([0, 1])  # 16, 16, 8, 4, 2 pixels a side
    assert torch.equal(grad_cam(net, x, labels), grad_cam(net, x, labels, stage=3))


def test_rows_do_not_depend_on_each_other() -> None:
    net, ((x, labels), *_) = small_net(), batches()
    together = grad_cam(net, x, labels, stage=2)
    alone = torch.cat([grad_cam(net, x[row : row + 1], labels[row : row + 1], stage=2) for row in range(len(x))])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)

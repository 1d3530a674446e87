from __future__ import annotations

import torch

from paceline.transfer.backbone.backbone import build
from paceline.transfer.backbone.mobilenet import MobileNetV2


def test_it_has_torchvisions_tensors() -> None:
    with torch.device("meta"):
        net = build("mobilenet_v2")
    state = net.state_dict()
    assert len(state) == 312  # 314 with the classifier
    assert sum(parameter.numel() for parameter in net.parameters()) == 3_504_872 - 1000 * 1281
    assert {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.2.conv.0.0.weight": (96, 16, 1, 1),
        "features.2.conv.1.0.weight": (96, 1, 3, 3),
        "features.2.conv.2.weight": (24, 96, 1, 1),
        "features.2.conv.3.running_var": (24,),
        "features.17.conv.2.weight": (320, 960, 1, 1),
        "features.18.0.weight": (1280, 320, 1, 1),
    }.items() <= {name: tuple(tensor.shape) for name, tensor in state.items()}.items()


def test_strides_and_residuals_are_where_they_are_published() -> None:
    with torch.device("meta"):
        net = MobileNetV2()
    strided = [unit.name for unit in net.units if unit.conv.stride == (2, 2)]
    assert strided == ["features.0.0", *(f"features.{place}.conv.1.0" for place in (2, 4, 7, 14))]
    residual = [name for name, module in net.named_modules() if getattr(module, "is_residual", False)]
    assert residual == [f"features.{place}" for place in (3, 5, 6, 8, 9, 10, 12, 13, 15, 16)]


def test_widths_are_multiples_of_eight() -> None:
    with torch.device("meta"):
        narrow = MobileNetV2(width=16)
    assert {unit.conv.out_channels % 8 for unit in narrow.units} == {0}
    assert narrow.num_features == 1280

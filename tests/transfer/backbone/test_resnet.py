from __future__ import annotations

from typing import Any

import pytest
import torch

from paceline.transfer.backbone.backbone import Backbone, build


def blank(arch: str, **options: Any) -> Backbone:
    with torch.device("meta"):
        return build(arch, **options)


def test_resnet_50_has_torchvisions_tensors() -> None:
    net = blank("resnet50")
    state = net.state_dict()
    assert len(state) == 318  # 320 with fc
    assert sum(parameter.numel() for parameter in net.parameters()) == 25_557_032 - 1000 * 2049
    assert [name for name in state if name.startswith("layer2.0.")] == [
        f"layer2.0.{part}"
        for place in ("1", "2", "3", "downsample")
        for part in (
            [f"conv{place}.weight", *(f"bn{place}.{each}" for each in NORM)]
            if place != "downsample"
            else ["downsample.0.weight", *(f"downsample.1.{each}" for each in NORM)]
        )
    ]
    assert state["layer2.0.conv2.weight"].shape == (128, 128, 3, 3)
    strides = {unit.name: unit.conv.stride for unit in net.units if unit.conv.stride != (1, 1)}
    assert strides["layer2.0.conv2"] == strides["layer2.0.downsample.0"] == (2, 2)
    assert "layer2.0.conv1" not in strides


NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@pytest.mark.parametrize(
    ("arch", "num_units", "num_parameters"),
    [
        ("resnet18", 20, 11_176_512),
        ("resnet34", 36, 21_284_672),
        ("resnet50", 53, 23_508_032),
        ("resnet101", 104, 42_500_160),
    ],
)
def test_sizes_are_those_that_are_published(arch: str, num_units: int, num_parameters: int) -> None:
    net = blank(arch)
    assert len(net.units) == num_units
    assert sum(parameter.numel() for parameter in net.parameters()) == num_parameters


def test_the_packaged_network_is_narrow() -> None:
    net = blank("glyphnet", num_inputs=1)
    assert (net.num_features, net.units[0].conv.in_channels, net.units[0].conv.out_channels) == (512, 1, 16)
    assert blank("glyphnet", width=8).num_features == 256

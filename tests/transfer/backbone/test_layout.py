"""Hugging Face's ResNet is the oracle: its tensors, renamed, must give its answers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from paceline.transfer.backbone.layout import canonical
from paceline.transfer.backbone.load import load_backbone

transformers = pytest.importorskip("transformers")

DEPTHS = {
    "resnet18": ("basic", [2, 2, 2, 2]),
    "resnet34": ("basic", [3, 4, 6, 3]),
    "resnet50": ("bottleneck", [3, 4, 6, 3]),
}


def theirs(arch: str, width: int = 8) -> nn.Module:
    layer_type, depths = DEPTHS[arch]
    widening = 4 if layer_type == "bottleneck" else 1
    sizes = [width * widening * 2**stage for stage in range(4)]
    config = transformers.ResNetConfig(
        embedding_size=width, hidden_sizes=sizes, depths=depths, layer_type=layer_type, num_labels=5
    )
    torch.manual_seed(0)
    made: nn.Module = transformers.ResNetForImageClassification(config).eval()
    for each in made.modules():
        if isinstance(each, nn.BatchNorm2d):
            assert each.running_mean is not None
            assert each.running_var is not None
            each.running_mean.normal_(0.0, 0.1)
            each.running_var.uniform_(0.5, 2.0)
    return made


@pytest.mark.parametrize("arch", DEPTHS)
def test_hugging_faces_resnet_gives_the_same_features(arch: str, tmp_path: Path) -> None:
    model = theirs(arch)
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, tmp_path / "model.safetensors"
    )
    base = load_backbone(tmp_path / "model.safetensors")
    assert base.backbone.arch == arch
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model.resnet(x).pooler_output.flatten(1)  # type: ignore[union-attr,operator]
        torch.testing.assert_close(base.backbone(x), expected, rtol=1e-5, atol=1e-6)


def test_both_layouts_have_one_hash(tmp_path: Path) -> None:
    model = theirs("resnet18")
    save_file(model.state_dict(), tmp_path / "theirs.safetensors")
    renamed = {name: tensor.half().float() for name, tensor in canonical(model.state_dict()).items()}
    save_file(canonical(model.state_dict()), tmp_path / "ours.safetensors")
    save_file(renamed, tmp_path / "other.safetensors")
    hashes = [load_backbone(tmp_path / f"{name}.safetensors").sha256 for name in ("theirs", "ours", "other")]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_body_alone_has_the_same_names() -> None:
    model = theirs("resnet18")
    assert [*canonical(model.resnet.state_dict())] == [*canonical(model.state_dict())]  # type: ignore[union-attr,operator]

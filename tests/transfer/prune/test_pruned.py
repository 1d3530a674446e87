from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from paceline.errors import ModelError
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.backbone import BACKBONES, Preprocessing, build
from paceline.transfer.fold import FoldedNet, fold
from paceline.transfer.prune.cut import PruneOptions, prune
from paceline.transfer.prune.pruned import PrunedInfo, load_pruned, save_pruned
from tests.transfer.small_net import batches, small_net

pytest.importorskip("torch_pruning")
INFO = PrunedInfo(
    arch="resnet18",
    classes=("a", "b", "c"),
    preprocessing=Preprocessing(size=32, resize=32, mean=(0.5,), std=(0.5,)),
    metrics={"top1": 0.5},
)
X = torch.randn(2, 1, 32, 32)
LABELS = torch.tensor([0, 2])


@pytest.fixture(scope="module")
def small() -> FoldedNet:
    torch.manual_seed(0)
    whole = fold(AdaptedNet(build("resnet18", num_inputs=1), 3))
    return prune(whole, [(X, LABELS)], PruneOptions(macs=0.5, num_steps=1))


@pytest.fixture
def folder(tmp_path: Path, small: FoldedNet) -> Path:
    save_pruned(tmp_path, small, INFO)
    return tmp_path


def test_a_file_holds_the_network_with_its_widths(folder: Path, small: FoldedNet) -> None:
    net, info = load_pruned(folder)
    assert info == INFO
    assert torch.equal(net(X), small(X))
    assert sorted(path.name for path in folder.iterdir()) == ["pruned.json", "pruned.safetensors"]


def test_depthwise_convolutions_are_rebuilt(tmp_path: Path) -> None:
    if "mobilenet_v2" not in BACKBONES:
        pytest.skip("no such network")
    torch.manual_seed(0)
    whole = fold(AdaptedNet(build("mobilenet_v2", num_inputs=1), 3))
    net = prune(whole, [(X, LABELS)], PruneOptions(macs=0.7, num_steps=1))
    save_pruned(tmp_path, net, PrunedInfo(arch="mobilenet_v2", classes=INFO.classes, preprocessing=INFO.preprocessing))
    assert torch.equal(load_pruned(tmp_path)[0](X), net(X))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("arch", "resnet19"),
        ("arch", "resnet34"),
        ("classes", ["a", "b"]),
        ("classes", []),
        ("format_version", 2),
        ("preprocessing", {"size": 0}),
        ("preprocessing", "none"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(folder: Path, key: str, value: object) -> None:
    info = json.loads((folder / "pruned.json").read_text())
    (folder / "pruned.json").write_text(json.dumps({**info, key: value}))
    with pytest.raises(ModelError, match="pruned"):
        load_pruned(folder)


@pytest.mark.parametrize("change", ["missing", "other shape", "wider", "empty", "no chain", "nan"])
def test_tensors_that_do_not_fit_are_refused(folder: Path, change: str) -> None:
    path = folder / "pruned.safetensors"
    tensors, name = load_file(path), "backbone.layer1.0.conv1.weight"
    weight = tensors[name]
    match change:
        case "missing":
            del tensors[name]
        case "other shape":
            tensors[name] = weight[..., 0].contiguous()
        case "wider":
            tensors[name] = torch.zeros(10_000, *weight.shape[1:])
        case "empty":
            tensors[name] = weight[:0].contiguous()
        case "no chain":
            tensors[name] = weight[:, 1:].contiguous()
        case "nan":
            tensors[name] = weight * torch.nan
    save_file(tensors, path)
    with pytest.raises(ModelError, match=r"pruned\.safetensors"):
        load_pruned(folder)


@pytest.mark.parametrize("name", ["pruned.json", "pruned.safetensors"])
def test_broken_files_are_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:50])
    with pytest.raises(ModelError, match=name):
        load_pruned(folder)
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name):
        load_pruned(folder)


def test_it_can_be_exported(tmp_path: Path) -> None:
    """The exporter compares the file's answers with the network's own."""
    pytest.importorskip("onnxruntime")
    from paceline.transfer.export import export_onnx

    small = prune(fold(small_net()), batches(), PruneOptions(macs=0.5, num_steps=1))
    export_onnx(small, tmp_path / "small.onnx", INFO.preprocessing, INFO.classes)
    assert (tmp_path / "small.onnx").stat().st_size > 1000

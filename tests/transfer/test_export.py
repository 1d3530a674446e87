from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

import paceline.transfer.export as module
from paceline.errors import ConfigError, ExecutionError
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.backbone import Preprocessing
from paceline.transfer.export import export_onnx
from paceline.transfer.fold import fold
from tests.transfer.gates.test_gates import backbone, moved

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

GREY = Preprocessing(size=32, resize=36, mean=(0.5,), std=(0.5,))
CLASSES = ["ant", "bee", "Kuh"]


@pytest.fixture(scope="module")
def net() -> AdaptedNet:
    return moved(AdaptedNet(backbone("basic"), 3)).eval()


@pytest.fixture(scope="module")
def file(net: AdaptedNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    export_onnx(net, path, GREY, CLASSES)
    return path


def test_any_number_of_pictures_gets_the_same_answers(net: AdaptedNet, file: Path) -> None:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for num in (1, 2, 7):
        x = torch.randn(num, 1, 32, 32)
        (logits,) = session.run(["logits"], {"pictures": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), net(x).detach(), rtol=1e-4, atol=1e-5)


def test_it_is_one_file_that_says_what_it_is_and_nothing_of_this_machine(file: Path) -> None:
    assert [path.name for path in file.parent.iterdir()] == ["net.onnx"]
    told = onnxruntime.InferenceSession(file).get_modelmeta().custom_metadata_map
    assert json.loads(told["classes"]) == CLASSES
    assert json.loads(told["preprocessing"]) == {"size": 32, "resize": 36, "mean": [0.5], "std": [0.5]}
    assert b".py" not in file.read_bytes()


def test_one_that_answers_otherwise_is_not_written(
    net: AdaptedNet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "_TOLERANCE", -1.0)
    with pytest.raises(ExecutionError, match="differ"):
        export_onnx(fold(net), tmp_path / "net.onnx", GREY, CLASSES)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_says_so(net: AdaptedNet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 classes, but there are 2 names"):
        export_onnx(net, tmp_path / "net.onnx", GREY, CLASSES[:2])
    with pytest.raises(ConfigError, match="dynamic"):
        export_onnx(AdaptedNet(backbone("basic"), 3, "dynamic"), tmp_path / "net.onnx", GREY, CLASSES)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match="onnxruntime"):
        export_onnx(net, tmp_path / "net.onnx", GREY, CLASSES)

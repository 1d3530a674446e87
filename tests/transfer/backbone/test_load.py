from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import paceline.transfer.backbone.load as module
from paceline.errors import ConfigError, ModelError
from paceline.transfer.backbone.backbone import Backbone, Preprocessing, build
from paceline.transfer.backbone.load import fingerprint, load_backbone


@pytest.fixture(scope="module")
def network() -> Backbone:
    """A narrow ResNet with norms that do something."""
    torch.manual_seed(0)
    made = build("glyphnet", num_inputs=3, width=4)
    with torch.no_grad():
        for unit in made.units:
            unit.frozen_norm.running_mean.normal_()
            unit.frozen_norm.running_var.uniform_(0.5, 2.0)
            unit.frozen_norm.num_batches_tracked.fill_(7)
    return made


def state_of(network: Backbone) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def saved(path: Path, state: Any, metadata: dict[str, str] | None = None) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path, metadata)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin"])
def test_every_kind_of_file_gives_the_same_network(network: Backbone, tmp_path: Path, suffix: str) -> None:
    base = load_backbone(saved(tmp_path / f"mine{suffix}", state_of(network)))
    assert (base.name, base.backbone.arch, base.preprocessing) == ("mine", "glyphnet", Preprocessing())
    assert base.sha256 == fingerprint(network)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(base.backbone(x), network(x))
    assert not base.backbone.training
    assert not any(parameter.requires_grad for parameter in base.backbone.parameters())
    assert {tensor.device.type for tensor in base.backbone.state_dict().values()} == {"cpu"}


Wrapping = Callable[[dict[str, Tensor]], Any]


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {}},
        lambda state: {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {f"module._orig_mod.backbone.{name}": tensor for name, tensor in state.items()},
        lambda state: state | {"fc.weight": torch.zeros(5, 128), "fc.bias": torch.zeros(5)},
        lambda state: {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")},
    ],
    ids=["wrapped", "model", "parallel", "compiled", "head", "old"],
)
def test_wrappers_prefixes_and_heads_make_no_difference(network: Backbone, tmp_path: Path, wrapped: Wrapping) -> None:
    base = load_backbone(saved(tmp_path / "a.pth", wrapped(state_of(network))))
    assert base.sha256 == fingerprint(network)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_fp32(network: Backbone, tmp_path: Path, dtype: torch.dtype) -> None:
    state = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state_of(network).items()
    }
    base = load_backbone(saved(tmp_path / "a.safetensors", state))
    assert {tensor.dtype for tensor in base.backbone.parameters()} == {torch.float32}
    assert torch.equal(base.backbone.units[0].conv.weight, state["conv1.weight"].float())
    assert (base.sha256 == fingerprint(network)) == (dtype == torch.float64)


@pytest.mark.parametrize(("arch", "options"), [("resnet18", {}), ("mobilenet_v2", {}), ("mobilenet_v2", {"width": 16})])
def test_the_network_shows_in_its_tensors(tmp_path: Path, arch: str, options: dict[str, int]) -> None:
    network = build(arch, num_inputs=1, **options)
    base = load_backbone(saved(tmp_path / "a.safetensors", state_of(network)))
    assert base.backbone.arch == arch
    assert base.sha256 == fingerprint(network)
    assert base.preprocessing.channels == 1


def test_the_hash_is_of_the_numbers(network: Backbone) -> None:
    other = build("glyphnet", width=4)
    assert fingerprint(network) == fingerprint(network.copied())
    assert fingerprint(network) != fingerprint(other)
    other.load_state_dict(network.state_dict())
    assert fingerprint(other.to(memory_format=torch.channels_last)) == fingerprint(network)
    other.units[3].frozen_norm.running_mean[0] += 1
    assert fingerprint(other) != fingerprint(network)


def test_without_a_path_it_is_the_packaged_one(
    monkeypatch: pytest.MonkeyPatch, network: Backbone, tmp_path: Path
) -> None:
    path = saved(tmp_path / "glyphnet.safetensors", state_of(network))
    monkeypatch.setattr(module, "_embedded", lambda: path)
    assert load_backbone().sha256 == load_backbone("embedded").sha256 == fingerprint(network)


# -- what is told about a file ----------------------------------------------------------------------------------------

GREY = {"size": 32, "resize": 40, "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5]}


def test_a_description_beside_it_or_within_it_is_used(network: Backbone, tmp_path: Path) -> None:
    told = {"arch": "glyphnet", "preprocessing": json.dumps(GREY)}
    within = load_backbone(saved(tmp_path / "a.safetensors", state_of(network), told))
    beside = saved(tmp_path / "b.safetensors", state_of(network))
    (tmp_path / "b.json").write_text(json.dumps({"arch": "glyphnet", "preprocessing": GREY, "licence": "CC0"}))
    assert (
        within.preprocessing
        == load_backbone(beside).preprocessing
        == Preprocessing(size=32, resize=40, mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5))
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "a.json beside it"),
        ('{"arch": 3}', "a.json beside it"),
        ('{"arch": "vgg"}', "'vgg'.*known: .*resnet18"),
        ('{"arch": "resnet18"}', "no resnet18"),
        (json.dumps({"preprocessing": GREY | {"size": 99}}), "size must be"),
        (json.dumps({"preprocessing": {"mean": [0.5], "std": [0.5]}}), "3 inputs, but its pictures 1 channels"),
        ("[" * 100_000, "a.json beside it"),
        (" " * (2**20 + 1), "larger than"),
    ],
)
def test_a_description_that_cannot_be(network: Backbone, tmp_path: Path, text: str, words: str) -> None:
    path = saved(tmp_path / "a.safetensors", state_of(network))
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ModelError, match=rf"(?s)a\.safetensors: .*{words}"):
        load_backbone(path)


# -- files that are refused -------------------------------------------------------------------------------------------


class Planted:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch planted",)


def without(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if part not in name}


ODD: dict[str, tuple[Wrapping, str]] = {
    "pickle": (lambda state: state | {"x": Planted()}, "not a file of tensors alone.*GLOBAL"),
    "module": (lambda _: torch.nn.Linear(2, 2), "not a file of tensors alone.*Unsupported global"),
    "list": (lambda state: list(state.values()), "holds list"),
    "empty": (lambda _: {}, "holds dict"),
    "number": (lambda state: state | {"conv1.weight": 3}, "'conv1.weight' is int"),
    "sparse": (lambda state: state | {"bn1.bias": torch.zeros(4).to_sparse()}, "dense tensor"),
    "twice": (lambda state: state | {"module.conv1.weight": torch.zeros(1)}, "'conv1.weight' twice"),
    "missing": (
        lambda state: without(state, "layer4.1"),
        "most like glyphnet.*missing layer4.1.bn1.bias, .* and 10 more",
    ),
    "odd": (lambda state: state | {"layer1.0.se.weight": torch.zeros(1)}, "odd layer1.0.se.weight"),
    "shape": (lambda state: state | {"layer1.0.conv1.weight": torch.zeros(4, 4, 3, 3)}, "'layer1.0.conv1.weight' is"),
    "stem": (lambda state: state | {"conv1.weight": torch.zeros(7)}, "'conv1.weight' is"),
    "no_width": (lambda state: state | {"conv1.weight": torch.zeros(0, 3, 7, 7)}, "'conv1.weight' is"),
    "inputs": (lambda state: state | {"conv1.weight": torch.zeros(4, 5, 7, 7)}, "5 inputs"),
    "nan": (lambda state: state | {"bn1.bias": torch.full((4,), float("nan"))}, "'bn1.bias' holds NaN"),
    "infinite": (
        lambda state: state | {"bn1.bias": torch.full((4,), float("inf"))},
        "'bn1.bias' holds NaN or infinity",
    ),
    "variance": (lambda state: state | {"bn1.running_var": -torch.ones(4)}, "negative variance"),
    "integers": (lambda state: state | {"bn1.bias": torch.zeros(4, dtype=torch.int8)}, "torch.int8"),
    "expanded": (lambda state: state | {"bn1.bias": torch.zeros(1).expand(4)}, "larger than what the file holds"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_files_are_refused_with_the_reason(
    network: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    made, words = ODD[name]
    path = saved(tmp_path / "a.pth", made(state_of(network)))
    with pytest.raises(ModelError, match=rf"(?s)a\.pth: .*{words}"):
        load_backbone(path)
    assert not (tmp_path / "planted").exists()


def test_a_huge_width_costs_no_memory(network: Backbone, tmp_path: Path) -> None:
    state = state_of(network) | {"conv1.weight": torch.zeros(1).expand(60_000, 3, 7, 7)}
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ModelError, match="glyphnet has"):
        load_backbone(tmp_path / "a.pth")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(network: Backbone, tmp_path: Path, suffix: str, share: float) -> None:
    whole = saved(tmp_path / f"whole{suffix}", state_of(network)).read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ModelError, match=rf"cut\{suffix}: not a"):
        load_backbone(path)


def test_a_header_that_lies_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(ModelError, match="not a valid safetensors file"):
        load_backbone(path)


def test_other_faults_name_the_file(network: Backbone, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.pth: cannot be read \(No such file"):
        load_backbone(tmp_path / "none.pth")
    with pytest.raises(ModelError, match="must end with"):
        load_backbone(tmp_path / "a.onnx")
    path = saved(tmp_path / "a.safetensors", state_of(network))
    with pytest.raises(ModelError, match=r"it is no resnet50, but for missing layer1\.2"):
        load_backbone(path, "resnet50")
    with pytest.raises(ConfigError, match="known"):
        load_backbone(path, "resnet51")

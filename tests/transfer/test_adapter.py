from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import paceline.transfer.adapter as module
from paceline.errors import ConfigError, ModelError, ResourceError
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.adapter import AdapterInfo, load_adapter, read_adapter, save_adapter
from paceline.transfer.backbone.backbone import Preprocessing, build
from paceline.transfer.backbone.load import Base, fingerprint
from paceline.transfer.gates.gate import GATES

GREY = Preprocessing(size=32, resize=32, mean=(0.5,), std=(0.5,))


def made_base(seed: int = 0) -> Base:
    torch.manual_seed(seed)
    backbone = build("glyphnet", num_inputs=1, width=4).eval()
    return Base(backbone, f"base{seed}", fingerprint(backbone), GREY)


BASE = made_base()


def adapted(gate: str | None = "affine", from_stage: str = "stem", base: Base = BASE) -> AdaptedNet:
    torch.manual_seed(1)
    net = AdaptedNet(copy.deepcopy(base.backbone), 3, gate, from_stage)
    with torch.no_grad():
        for parameter in net.gates.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.eval()


def info_of(net: AdaptedNet, base: Base = BASE, **options: Any) -> AdapterInfo:
    return AdapterInfo(
        arch=net.backbone.arch,
        base_name=base.name,
        base_sha256=base.sha256,
        gate=net.gate,
        from_stage=net.from_stage,
        preprocessing=base.preprocessing,
        classes=("ant", "bee", "cow"),
        **options,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    net = adapted()
    save_adapter(tmp_path / "bird", net, info_of(net, metrics={"top1": 0.5}))
    return tmp_path / "bird"


@pytest.mark.parametrize("from_stage", ["stem", "layer3"])
@pytest.mark.parametrize("gate", [None, *GATES])
def test_what_is_saved_comes_back(gate: str | None, from_stage: str, tmp_path: Path) -> None:
    net, x = adapted(gate, from_stage), torch.randn(2, 1, 32, 32)
    save_adapter(tmp_path, net, info_of(net), dtype="float32")
    loaded, info = load_adapter(tmp_path, BASE)
    assert torch.equal(loaded(x), net(x))
    assert info == msgspec.structs.replace(info_of(net), weights_sha256=info.weights_sha256)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter.json", "adapter.safetensors"]


def test_half_precision_is_the_default_and_close(folder: Path) -> None:
    assert {tensor.dtype for tensor in load_file(folder / "adapter.safetensors").values()} == {torch.float16}
    info, tensors = read_adapter(folder)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert info.metrics == {"top1": 0.5}
    x, (loaded, _) = torch.randn(2, 1, 32, 32), load_adapter(folder, BASE)
    torch.testing.assert_close(loaded(x), adapted()(x), rtol=1e-2, atol=1e-2)


def test_loaded_adapters_share_the_base_and_may_be_trained(folder: Path) -> None:
    (first, _), (second, _) = load_adapter(folder, BASE), load_adapter(folder, BASE)
    for net in (first, second):
        assert all(ours is own for ours, own in zip(net.backbone.parameters(), BASE.backbone.parameters(), strict=True))
    assert all(unit.gate is None for unit in BASE.backbone.units)
    assert first.gates is not second.gates
    learned = [name for name, parameter in first.named_parameters() if parameter.requires_grad]
    assert learned == [name for name, _ in first.named_parameters() if not name.startswith("backbone.")]


def test_an_adapter_of_resnet_50_is_small(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = build("resnet50")
    base = Base(backbone, "resnet50", fingerprint(backbone), Preprocessing())
    net = AdaptedNet(backbone, 20)
    classes = tuple(f"class {number}" for number in range(20))
    info = msgspec.structs.replace(info_of(net, base), classes=classes)
    save_adapter(tmp_path, net, info)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size <= 220_000
    loaded, _ = load_adapter(tmp_path, base)
    assert sum(parameter.numel() for parameter in loaded.gates.parameters()) == 53_120


def test_norms_may_have_statistics_of_their_own(tmp_path: Path) -> None:
    net, x = adapted(), torch.randn(2, 1, 32, 32)
    for unit in net.backbone.units:
        unit.frozen_norm.running_mean.add_(0.3)
        unit.frozen_norm.running_var.mul_(100_000.0)  # more than fp16 can hold
    with pytest.raises(ConfigError, match="has_norm_stats=True"):
        save_adapter(tmp_path, net, info_of(net))
    save_adapter(tmp_path, net, info_of(net, has_norm_stats=True), dtype="float32")
    before = fingerprint(BASE.backbone)
    loaded, _ = load_adapter(tmp_path, BASE)
    assert torch.equal(loaded(x), net(x))
    assert fingerprint(BASE.backbone) == before


# -- what is not saved ------------------------------------------------------------------------------------------------


def test_a_network_that_was_trained_as_a_whole_is_no_adapter(tmp_path: Path) -> None:
    net = adapted(None)
    with torch.no_grad():
        net.backbone.units[2].conv.weight.add_(0.1)
    with pytest.raises(ConfigError, match="trained as a whole"):
        save_adapter(tmp_path, net, info_of(net))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "odd", [{"gate": "out"}, {"from_stage": "layer1"}, {"classes": ("a", "b")}, {"arch": "resnet18"}]
)
def test_info_that_tells_something_else_is_refused(tmp_path: Path, odd: dict[str, Any]) -> None:
    net = adapted()
    with pytest.raises(ConfigError, match="but info says"):
        save_adapter(tmp_path, net, msgspec.structs.replace(info_of(net), **odd))


@pytest.mark.parametrize("classes", [("a",), ("a", "a")])
def test_classes_differ(classes: tuple[str, ...]) -> None:
    net = adapted()
    with pytest.raises(ConfigError, match="different names"):
        msgspec.structs.replace(info_of(net), classes=classes)


def test_numbers_too_large_for_half_precision_are_not_lost(tmp_path: Path) -> None:
    net = adapted()
    with torch.no_grad():
        net.head.bias[0] = 1e6
    with pytest.raises(ConfigError, match=r"head\.bias.*float16.*use float32"):
        save_adapter(tmp_path, net, info_of(net))
    save_adapter(tmp_path, net, info_of(net), dtype="float32")


@pytest.mark.parametrize("failing", ["adapter.safetensors", "adapter.json"])
def test_a_crash_leaves_the_old_adapter_or_one_that_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    write = module.write_atomic

    def crash(path: Path, data: bytes) -> None:
        if path.name == failing:
            raise ResourceError("no space")
        write(path, data)

    before, _ = load_adapter(folder, BASE)
    monkeypatch.setattr(module, "write_atomic", crash)
    net = adapted("out")
    with pytest.raises(ResourceError):
        save_adapter(folder, net, info_of(net))
    if failing == "adapter.json":
        with pytest.raises(ModelError, match="saving was interrupted"):
            load_adapter(folder, BASE)
    else:
        assert torch.equal(load_adapter(folder, BASE)[0].head.weight, before.head.weight)


# -- folders from elsewhere -------------------------------------------------------------------------------------------


def test_another_base_is_refused_by_name(folder: Path) -> None:
    other = made_base(3)
    with pytest.raises(ModelError, match=f"'base0' .*{BASE.sha256[:16]}.*'base3' .*{other.sha256[:16]}"):
        load_adapter(folder, other)


def rewritten(folder: Path, tensors: dict[str, Tensor]) -> None:
    """With a hash that fits, as one who means harm would do it."""
    save_file(tensors, folder / "adapter.safetensors")
    described = json.loads((folder / "adapter.json").read_text())
    described["weights_sha256"] = hashlib.sha256((folder / "adapter.safetensors").read_bytes()).hexdigest()
    (folder / "adapter.json").write_text(json.dumps(described))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"head.weight": torch.zeros(3, 7)}, "does not fit.*head.weight"),
        ({"head.bias": None}, "does not fit.*head.bias"),
        ({"backbone.conv1.weight": torch.zeros(4, 1, 7, 7)}, "does not fit.*backbone.conv1.weight"),
        ({"gates.conv1.shift": torch.full((4,), float("nan"))}, "gates.conv1.shift' holds NaN"),
        ({"norms.conv1.var": -torch.ones(4)}, "negative variance"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(folder: Path, change: dict[str, Tensor | None], words: str) -> None:
    tensors = load_file(folder / "adapter.safetensors") | change
    rewritten(folder, {name: tensor for name, tensor in tensors.items() if tensor is not None})
    with pytest.raises(ModelError, match=rf"adapter\.safetensors: .*{words}"):
        load_adapter(folder, BASE)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format_version": 2}, "format_version|invalid enum"),
        ({"gate": "os.system"}, "unknown gate"),
        ({"from_stage": "layer9"}, "no stage"),
        ({"base_sha256": "../../x"}, "base_sha256"),
        ({"classes": ["a"]}, "classes"),
        ({"classes": [f"{number}" for number in range(100_000)]}, "does not fit"),
        ({"preprocessing": {"size": -1}}, "size must be"),
        ({"seed": "x"}, "seed"),
    ],
)
def test_descriptions_that_cannot_be_are_refused(folder: Path, change: dict[str, Any], words: str) -> None:
    described = json.loads((folder / "adapter.json").read_text()) | change
    (folder / "adapter.json").write_text(json.dumps(described))
    with pytest.raises(ModelError, match=rf"adapter\.(json|safetensors): .*({words})"):
        load_adapter(folder, BASE)


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 200_000, b"\xff\xfe", b'{"arch": 1}'])
def test_what_is_no_description_is_refused(folder: Path, text: bytes) -> None:
    (folder / "adapter.json").write_bytes(text)
    with pytest.raises(ModelError, match=r"adapter\.json: "):
        read_adapter(folder)


@pytest.mark.parametrize("name", ["adapter.json", "adapter.safetensors"])
def test_a_missing_damaged_or_huge_file_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = folder / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(ModelError, match=name):
        read_adapter(folder)
    path.write_bytes(whole)
    monkeypatch.setattr(module, "MAX_JSON_BYTES", 100)
    monkeypatch.setattr(module, "MAX_WEIGHTS_BYTES", 100)
    with pytest.raises(ModelError, match="larger than 100 bytes"):
        read_adapter(folder)
    path.unlink()
    with pytest.raises(ModelError, match=r"larger than|cannot be read"):
        read_adapter(folder)

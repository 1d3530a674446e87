"""Adapters in folders: ``adapter.safetensors`` (gates and head) and ``adapter.json`` (what they belong to).

A folder may come from anywhere: nothing in it can run, sizes are bounded, and shapes are checked before numbers are used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from paceline.errors import ConfigError, ModelError
from paceline.process.atomic import write_atomic
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.backbone import Preprocessing
from paceline.transfer.backbone.load import Base, fingerprint
from paceline.transfer.gates.gate import GATES

WEIGHTS: Final = "adapter.safetensors"
DESCRIPTION: Final = "adapter.json"
MAX_JSON_BYTES: Final = 16 * 2**20
MAX_WEIGHTS_BYTES: Final = 2**30  # ten times the largest adapter of the largest network here

Precision: TypeAlias = Literal["float16", "float32"]
_Hash: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class AdapterInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What an adapter is for, and where it comes from."""

    format_version: Literal[1] = 1
    arch: str
    base_name: str
    base_sha256: _Hash
    gate: str | None
    from_stage: str
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    metrics: dict[str, float] = {}
    seed: int = 0
    versions: dict[str, str] = {}
    has_norm_stats: bool = False  # the norms' statistics are its own
    weights_sha256: str = ""  # of adapter.safetensors; filled in when it is written

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise ConfigError(f"classes must be at least two different names, got {list(self.classes[:5])}")
        if self.gate is not None and self.gate not in GATES:
            raise ConfigError(f"unknown gate {self.gate!r}; known: {', '.join(GATES)}")


def save_adapter(folder: str | Path, net: AdaptedNet, info: AdapterInfo, dtype: Precision = "float16") -> None:
    """Writes what ``net`` learned beside its base, over an adapter that may be there.

    In fp16 it takes half the room, and answers change in the third digit or later. A crash on the way leaves the old adapter, or
    a folder that is refused when it is read. ConfigError if ``net`` is not the base that ``info`` names with gates and a head (a network
    that was trained as a whole is no adapter), or cannot be held in ``dtype``; ResourceError if there is no room.
    """
    _check_belongs(net, info)
    tensors = {name: _cast(name, tensor, dtype) for name, tensor in _learned(net)}
    if info.has_norm_stats:  # in full: a variance may be too large for fp16
        tensors |= {name: tensor.float().cpu().contiguous() for name, tensor in _stats(net)}
    data = save(tensors)
    described = msgspec.structs.replace(info, weights_sha256=hashlib.sha256(data).hexdigest())
    target = Path(folder)
    write_atomic(target / WEIGHTS, data)
    write_atomic(target / DESCRIPTION, msgspec.json.format(msgspec.json.encode(described)))


def read_adapter(folder: str | Path) -> tuple[AdapterInfo, dict[str, Tensor]]:
    """An adapter without its base: what it is, and its tensors in fp32. ModelError, naming the file, if it is damaged."""
    source = Path(folder)
    path = source / DESCRIPTION
    try:
        info = msgspec.json.decode(_bytes(path, MAX_JSON_BYTES), type=AdapterInfo)
    except (msgspec.MsgspecError, ConfigError, RecursionError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: {error}") from error
    path = source / WEIGHTS
    data = _bytes(path, MAX_WEIGHTS_BYTES)
    if hashlib.sha256(data).hexdigest() != info.weights_sha256:
        raise ModelError(
            f"{path}: not the file that {DESCRIPTION} describes (saving was interrupted, or it was changed): save it again"
        )
    try:
        tensors = {name: tensor.to(torch.float32, copy=True) for name, tensor in load(data).items()}
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"{path}: not a valid safetensors file ({error})") from error
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ModelError(f"{path}: {name!r} holds NaN or infinity")
        if name.endswith(".var") and bool((tensor < 0).any()):
            raise ModelError(f"{path}: {name!r} holds a negative variance")
    return info, tensors


def load_adapter(folder: str | Path, base: Base) -> tuple[AdaptedNet, AdapterInfo]:
    """An adapter on its base, whose tensors it shares, so that a thousand of them cost the base once.

    ModelError if it was made for another base, or is damaged.
    """
    info, tensors = read_adapter(folder)
    if info.base_sha256 != base.sha256:
        raise ModelError(
            f"{folder}: made for the base {info.base_name!r} ({info.arch}, sha256 {info.base_sha256[:16]}…), "
            f"but this is {base.name!r} ({base.backbone.arch}, sha256 {base.sha256[:16]}…)"
        )
    try:
        with torch.device("meta"):  # nothing is allocated until the tensors fit
            net = AdaptedNet(base.backbone.copied(), len(info.classes), info.gate, info.from_stage)
    except ConfigError as error:
        raise ModelError(f"{Path(folder) / DESCRIPTION}: {error}") from error
    _check_shapes(Path(folder) / WEIGHTS, _expected(net, info), tensors)
    device = base.backbone.units[0].conv.weight.device
    tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
    if info.has_norm_stats:
        for unit in net.backbone.units:
            unit.frozen_norm.running_mean = tensors.pop(f"norms.{unit.name}.mean")  # the base keeps its own
            unit.frozen_norm.running_var = tensors.pop(f"norms.{unit.name}.var")
    net.load_state_dict(tensors, strict=False, assign=True)
    return net.eval(), info


def _bytes(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(data) > limit:
        raise ModelError(f"{path}: larger than {limit} bytes")
    return data


def _learned(net: AdaptedNet) -> Iterator[tuple[str, Tensor]]:
    """Tensors of gates and head, by their names in the net."""
    return ((name, tensor) for name, tensor in net.state_dict().items() if not name.startswith("backbone."))


def _stats(net: AdaptedNet) -> Iterator[tuple[str, Tensor]]:
    for unit in net.backbone.units:
        yield f"norms.{unit.name}.mean", unit.frozen_norm.running_mean
        yield f"norms.{unit.name}.var", unit.frozen_norm.running_var


def _expected(net: AdaptedNet, info: AdapterInfo) -> dict[str, Tensor]:
    return dict(_learned(net)) | (dict(_stats(net)) if info.has_norm_stats else {})


def _cast(name: str, tensor: Tensor, dtype: Precision) -> Tensor:
    made = tensor.detach().to("cpu", getattr(torch, dtype)).contiguous()
    if not bool(made.isfinite().all()):
        raise ConfigError(f"{name!r} holds numbers that {dtype} cannot hold" + " (use float32)" * (dtype == "float16"))
    return made


def _check_belongs(net: AdaptedNet, info: AdapterInfo) -> None:
    found = (net.backbone.arch, net.gate, net.from_stage, net.head.out_features)
    told = (info.arch, info.gate, info.from_stage, len(info.classes))
    if found != told:
        raise ConfigError(f"the network's arch, gate, stage and number of classes are {found}, but info says {told}")
    if not info.has_norm_stats and fingerprint(net.backbone) != info.base_sha256:
        raise ConfigError(
            f"the network is no longer its base {info.base_name!r}: more than gates and head was changed. Statistics of norms "
            "are saved with has_norm_stats=True; a network that was trained as a whole is no adapter"
        )


def _check_shapes(path: Path, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    odd = sorted(
        name
        for name in expected.keys() | found.keys()
        if name not in expected or name not in found or expected[name].shape != found[name].shape
    )
    if odd:
        raise ModelError(f"{path}: does not fit its base and {DESCRIPTION}: {', '.join(odd[:5])}")

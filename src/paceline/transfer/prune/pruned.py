"""A pruned network as files of its own: it shares no base any more, so it is kept whole."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import msgspec
import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from paceline.errors import ConfigError, ModelError
from paceline.process.atomic import write_atomic
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.backbone import Preprocessing, build
from paceline.transfer.fold import FoldedNet, fold
from paceline.transfer.prune.cost import Layer, layers

FORMAT_VERSION: Final = 1
_TENSORS, _INFO = "pruned.safetensors", "pruned.json"
_MAX_INFO_BYTES = 4 << 20


class PrunedInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a pruned network besides its tensors; its widths are those of the tensors."""

    format_version: int = FORMAT_VERSION
    arch: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    metrics: dict[str, float] = {}

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes must be at least two different names, got {list(self.classes[:5])}")


def save_pruned(folder: Path, net: nn.Module, info: PrunedInfo) -> None:
    """Writes ``pruned.safetensors`` and ``pruned.json``. ResourceError if that fails."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in net.state_dict().items()}
    write_atomic(folder / _TENSORS, save(tensors))
    write_atomic(folder / _INFO, msgspec.json.format(msgspec.json.encode(info), indent=2))


def load_pruned(folder: Path) -> tuple[FoldedNet, PrunedInfo]:
    """The network and what is known of it. No code is read. ModelError, naming the file, if it is no pruned network."""
    info = _read_info(folder / _INFO)
    tensors = _read_tensors(folder / _TENSORS)
    try:
        whole = AdaptedNet(build(info.arch, num_inputs=info.preprocessing.channels), len(info.classes), gate=None)
    except ConfigError as error:
        raise ModelError(f"{folder / _INFO}: {error}") from error
    net = fold(whole)
    try:
        for name, layer in layers(net).items():
            _resize(layer, tensors[f"{name}.weight"])
        net.load_state_dict(tensors)
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise RuntimeError("some numbers are not finite")
        with torch.no_grad():
            net(torch.zeros(1, info.preprocessing.channels, info.preprocessing.size, info.preprocessing.size))
    except (KeyError, RuntimeError) as error:
        raise ModelError(
            f"{folder / _TENSORS} does not fit {info.arch} with {len(info.classes)} classes: {error}"
        ) from error
    return net.eval().requires_grad_(False), info


def _read_info(path: Path) -> PrunedInfo:
    try:
        if path.stat().st_size > _MAX_INFO_BYTES:
            raise ModelError(f"{path} is larger than {_MAX_INFO_BYTES >> 20} MiB, so it describes no pruned network")
        info = msgspec.json.decode(path.read_bytes(), type=PrunedInfo)
    except (OSError, msgspec.DecodeError, ConfigError) as error:
        raise ModelError(f"{path} describes no pruned network: {error}") from error
    if info.format_version != FORMAT_VERSION:
        raise ModelError(f"{path} has format version {info.format_version}; this program reads {FORMAT_VERSION}")
    return info


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(f"{path} holds no tensors: {error}") from error


def _resize(layer: Layer, weight: Tensor) -> None:
    """Gives a layer the widths of ``weight``; the shape of its kernel stays."""
    if weight.shape[2:] != layer.weight.shape[2:] or not 0 < math.prod(weight.shape) <= layer.weight.numel():
        raise RuntimeError(
            f"weight of shape {tuple(weight.shape)} where at most {tuple(layer.weight.shape)} was expected"
        )
    num_out, num_in = weight.shape[:2]
    if isinstance(layer, nn.Linear):
        layer.in_features = num_in  # its outputs are the classes, which `load_state_dict` checks
        num_out = layer.out_features
    else:
        layer.groups = num_out if layer.groups > 1 else 1
        layer.in_channels, layer.out_channels = num_in * layer.groups, num_out
    layer.weight = nn.Parameter(torch.empty(num_out, *weight.shape[1:]))
    assert layer.bias is not None  # folded
    layer.bias = nn.Parameter(torch.empty(num_out))

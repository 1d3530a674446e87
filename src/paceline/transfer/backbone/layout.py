"""Names of tensors in files: torchvision's, which timm shares, are ours; those of others are translated.

>>> [*canonical({"module.resnet.encoder.stages.0.layers.1.layer.2.convolution.weight": torch.zeros(1)})]
['layer1.1.conv3.weight']
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from paceline.errors import ModelError
from paceline.transfer.backbone.backbone import BACKBONES, Backbone, build

_WRAPPERS: Final = ("state_dict", "model_state_dict", "model", "net")  # what training scripts put a state into
_PREFIXES: Final = re.compile(
    r"(module|_orig_mod|model|backbone|resnet)\."
)  # parallel, compiled, or part of a larger one
_HEADS: Final = re.compile(r"(fc|classifier|head)\.")

# Hugging Face's ResNet: places of stages, blocks and convolutions count from 0, ours but the blocks' from 1.
_STEM: Final = re.compile(r"embedder\.embedder\.(convolution|normalization)\.(\w+)")
_INNER: Final = re.compile(r"encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.(convolution|normalization)\.(\w+)")
_SHORTCUT: Final = re.compile(r"encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.(convolution|normalization)\.(\w+)")
_OURS: Final = {"convolution": "conv", "normalization": "bn"}

COUNTER: Final = ".num_batches_tracked"  # says nothing about what a network computes


def unwrapped(state: Any) -> Mapping[str, Tensor]:
    """The tensors of a file, out of the wrappers that it may have. ModelError if they are not names and tensors."""
    while isinstance(state, Mapping):
        inner = next((state[name] for name in _WRAPPERS if isinstance(state.get(name), Mapping)), None)
        if inner is None:
            break
        state = inner
    if not isinstance(state, Mapping) or not state:
        raise ModelError(f"it holds {type(state).__name__}, where names and tensors were expected")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            raise ModelError(f"{name!r} is {type(tensor).__name__}, where a dense tensor was expected")
    return state


def canonical(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by our names, without those of a head. ModelError if two of them get the same name."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        ours = _renamed(_without_prefixes(name))
        if _HEADS.match(ours):
            continue
        if ours in found:
            raise ModelError(f"it holds {ours!r} twice, once as {name!r}")
        found[ours] = tensor
    return found


def _without_prefixes(name: str) -> str:
    while found := _PREFIXES.match(name):
        name = name[found.end() :]
    return name


def _renamed(name: str) -> str:
    if found := _STEM.fullmatch(name):
        kind, tensor = found.groups()
        return f"{_OURS[kind]}1.{tensor}"
    if found := _INNER.fullmatch(name):
        stage, block, place, kind, tensor = found.groups()
        return f"layer{int(stage) + 1}.{block}.{_OURS[kind]}{int(place) + 1}.{tensor}"
    if found := _SHORTCUT.fullmatch(name):
        stage, block, kind, tensor = found.groups()
        return f"layer{int(stage) + 1}.{block}.downsample.{0 if kind == 'convolution' else 1}.{tensor}"
    return name


def blank(state: Mapping[str, Tensor], arch: str | None) -> Backbone:
    """The network that fits these tensors, which are by our names, without memory for its own.

    ``arch`` None: the one with the same names. ModelError if none fits, or not the one that was asked for.
    """
    names = {name for name in state if not name.endswith(COUNTER)}
    networks = {each: _sketch(each) for each in (BACKBONES if arch is None else [arch])}
    nearest = min(networks, key=lambda each: len(names ^ _names(networks[each])))
    expected = _names(networks[nearest])
    if names != expected:
        asked = f"it is no {nearest}" if arch else f"it is none of {', '.join(networks)}; most like {nearest}"
        raise ModelError(f"{asked}, but for{_listed('missing', expected - names)}{_listed('odd', names - expected)}")
    return _fitted(networks[nearest], state)


def _fitted(network: Backbone, state: Mapping[str, Tensor]) -> Backbone:
    """The same network, of the width and with the inputs of these tensors."""
    own, given = network.units[0].conv.weight, state[f"{network.units[0].name}.weight"]
    if given.dim() == 4 and given.shape[:2] != own.shape[:2] and given.numel():
        options = {} if given.shape[0] == own.shape[0] else {"width": given.shape[0]}
        network = _sketch(network.arch, num_inputs=given.shape[1], **options)
    for name, tensor in network.state_dict().items():
        found = state.get(name)
        if found is not None and found.shape != tensor.shape:
            raise ModelError(f"{name!r} is {list(found.shape)}, where {network.arch} has {list(tensor.shape)}")
    return network


def _sketch(arch: str, **options: Any) -> Backbone:
    with torch.device("meta"):  # sizes cost nothing until the tensors fit
        return build(arch, **options)


def _names(network: Backbone) -> set[str]:
    return {name for name in network.state_dict() if not name.endswith(COUNTER)}


def _listed(what: str, names: set[str]) -> str:
    """The first five of them, none if there are none."""
    if not names:
        return ""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f" {what} {', '.join(sorted(names)[:5])}{more};"

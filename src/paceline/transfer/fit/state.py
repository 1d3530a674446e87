"""Where a training stands, and the tensors that it changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec
import torch
from torch import Tensor, nn

from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.load import fingerprint
from paceline.transfer.fit.history import History
from paceline.transfer.fit.options import FitOptions
from paceline.transfer.fit.stopping import Stopping
from paceline.transfer.methods import Method

if TYPE_CHECKING:
    from paceline.transfer.pictures.pictures import Pictures

_OF_NO_CONSEQUENCE = ("checkpoint_every_s", "num_threads", "device")  # for what is learned, up to rounding


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How far a training is. Epochs count from 1, since the head's is 0."""

    epoch: int = 1  # the one in progress
    batch: int = 0  # the next one of it
    loss_sum: float = 0.0  # over the pictures of this epoch
    num_seen: int = 0
    seconds: float = 0.0  # of this epoch
    stopping: Stopping = Stopping()
    history: History = History()


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What must be the same for a training to go on."""

    architecture: str
    base: str  # sha256 of its tensors
    method: str
    gate: str | None
    from_stage: str
    classes: tuple[str, ...]
    pictures: str  # sha256 of paths and labels
    options: dict[str, object]

    @classmethod
    def of(cls, net: AdaptedNet, method: Method, train: Pictures, val: Pictures, options: FitOptions) -> Identity:
        """Of a training that begins: ``net`` still holds what it starts from."""
        return cls(
            architecture=net.backbone.arch,
            base=fingerprint(net.backbone),
            method=method.name,
            gate=net.gate,
            from_stage=net.from_stage,
            classes=tuple(train.classes),
            pictures=listing_digest(train, val),
            options=kept_options(options),
        )

    def differences(self, other: Identity) -> Iterator[str]:
        """What is not the same, in words."""
        mine, theirs = _flat(self), _flat(other)
        for key in sorted(mine.keys() | theirs.keys()):
            if mine.get(key) != theirs.get(key):
                yield f"{key} is {_short(mine.get(key))}, was {_short(theirs.get(key))}"


def _flat(identity: Identity) -> dict[str, object]:
    parts: dict[str, object] = msgspec.to_builtins(identity)
    options = parts.pop("options")
    return {**parts, **options} if isinstance(options, dict) else parts


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def kept_options(options: FitOptions) -> dict[str, object]:
    """Those that decide what is learned."""
    return {key: value for key, value in msgspec.to_builtins(options).items() if key not in _OF_NO_CONSEQUENCE}


def listing_digest(*sets: Pictures) -> str:
    """SHA-256 over labels and paths."""
    digest = hashlib.sha256()
    for pictures in sets:
        for path, label in zip(pictures.paths, pictures.labels.tolist(), strict=True):
            digest.update(f"{label} {path}\0".encode())
        digest.update(b"\1")
    return digest.hexdigest()


def learned(net: nn.Module) -> dict[str, Tensor]:
    """The tensors that training changes, by name: parameters, and the statistics of norms that still gather them."""
    found = {name: parameter.data for name, parameter in net.named_parameters() if parameter.requires_grad}
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            found.update({f"{name}.{key}": buffer for key, buffer in module.named_buffers()})
    return found


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def put_back(tensors: Mapping[str, Tensor], held: Mapping[str, Tensor]) -> None:
    """Writes ``held`` into ``tensors``, in place."""
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(held[name])

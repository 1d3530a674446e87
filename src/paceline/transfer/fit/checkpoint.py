"""A training in one file: tensors, and where it stands as JSON in the same file's metadata, so that both change at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from paceline.errors import ConfigError, ModelError
from paceline.process.atomic import write_atomic
from paceline.transfer.fit.state import Identity, Standing

VERSION = "1"


class Checkpoint(NamedTuple):
    """What ``load`` found. Names of tensors begin with net/, best/ or optimizer/."""

    standing: Standing
    tensors: dict[str, Tensor]

    def part(self, name: str) -> dict[str, Tensor]:
        """Tensors under ``name``/, by what follows."""
        return {
            key.removeprefix(f"{name}/"): value for key, value in self.tensors.items() if key.startswith(f"{name}/")
        }


def save_checkpoint(
    path: Path, identity: Identity, standing: Standing, parts: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Replaces ``path`` as a whole. ResourceError, with the old file kept, if there is no room for it."""
    tensors = {
        f"{part}/{name}": tensor.detach().cpu().contiguous()
        for part, named in parts.items()
        for name, tensor in named.items()
    }
    metadata = {
        "version": VERSION,
        "identity": msgspec.json.encode(identity).decode(),
        "standing": msgspec.json.encode(standing).decode(),
    }
    write_atomic(path, save(tensors, metadata))


def load_checkpoint(path: Path, identity: Identity) -> Checkpoint:
    """ConfigError, naming what differs, if it belongs to another training; ModelError if it is no checkpoint."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            held = msgspec.json.decode(metadata["identity"], type=Identity)
            standing = msgspec.json.decode(metadata["standing"], type=Standing)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError, KeyError, msgspec.MsgspecError) as error:
        raise ModelError(f"{path}: not a checkpoint of a training ({error}); delete it to begin anew") from None
    if metadata.get("version") != VERSION:
        raise ModelError(f"{path}: of format {metadata.get('version')!r}, this release reads {VERSION}")
    differences = list(identity.differences(held))
    if differences:
        raise ConfigError(
            f"{path} is of another training: {'; '.join(differences)}. Give the same again, or another file"
        )
    return Checkpoint(standing, tensors)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Its state by the place of the parameter: "3/exp_avg" and so on."""
    state = optimizer.state_dict()["state"]
    return {f"{place}/{name}": tensor for place, named in state.items() for name, tensor in named.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts back what ``optimizer_tensors`` gave.

    Each tensor gets its parameter's order in memory: the fused step reads both in the order in which they lie.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        place, _, name = key.partition("/")
        like = parameters[int(place)]
        held = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
        state.setdefault(int(place), {})[name] = held.detach()
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

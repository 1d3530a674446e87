"""Checkpoints in one safetensors file: weights, optimizer state, and the counters as JSON in its header."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer


def save_checkpoint(path: Path, model: nn.Module, optimizers: list[Optimizer], counters: dict[str, Any]) -> None:
    """Writes beside the old file and renames, so an interrupted write leaves the old one."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    tensors = {f"weight/{name}": parameter.detach().contiguous() for parameter, name in names.items()}
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            tensors |= {f"{key}/{names[parameter]}": torch.as_tensor(value) for key, value in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".writing")
    save_file({key: value.contiguous() for key, value in tensors.items()}, beside, {"counters": json.dumps(counters)})
    os.replace(beside, path)


def load_checkpoint(path: Path, model: nn.Module, optimizers: list[Optimizer]) -> dict[str, Any]:
    """Restores what `save_checkpoint` wrote; returns the counters."""
    weights: dict[str, Tensor] = {}
    states: dict[str, dict[str, Tensor]] = {}
    with safe_open(path, framework="pt") as file:
        counters: dict[str, Any] = json.loads(file.metadata()["counters"])
        for key in file.keys():  # noqa: SIM118, not a dict
            kind, name = key.split("/", 1)
            if kind == "weight":
                weights[name] = file.get_tensor(key)
            else:
                states.setdefault(name, {})[kind] = file.get_tensor(key)
    model.load_state_dict(weights)
    parameters = dict(model.named_parameters())
    for optimizer in optimizers:
        owned = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        for name, state in states.items():
            if id(parameters[name]) in owned:
                device = parameters[name].device
                optimizer.state[parameters[name]] = {
                    key: value if key == "step" else value.to(device) for key, value in state.items()
                }
    return counters

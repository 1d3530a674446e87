"""Training from random weights; stops and goes on at any checkpoint."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from paceline.streaming.frame import Size
from training.streaming.batches import Batch, Pieces
from training.streaming.loss import loss
from training.streaming.network import SHAPES, Detector
from training.streaming.pictures import read

WIDE_EVERY: Final = 4  # every so many steps the pieces are four times as large, and as many fewer
READ_EVERY: Final = 2000  # steps after which the folder of pictures is read anew


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """All that the weights depend on, beside the pictures and the libraries."""

    name: str
    steps: int
    batch: int
    piece: Size
    scales: tuple[float, float]
    peak_rate: float = 2.5e-3
    weight_decay: float = 0.02
    warmup_share: float = 0.05
    seed: int = 0


RECIPES: Final = {
    "small": Recipe(name="small", steps=6000, batch=12, piece=(256, 160), scales=(0.26, 0.44)),
    "medium": Recipe(name="medium", steps=4500, batch=8, piece=(320, 192), scales=(0.46, 0.72)),
}


def train(
    recipe: Recipe,
    pictures: Path,
    checkpoint: Path,
    *,
    device: str,
    workers: int = 0,
    save_every_s: float = 60.0,
    log: Callable[[str], None],
) -> Detector:
    """Goes on from the checkpoint where there is one."""
    torch.manual_seed(recipe.seed)
    net = Detector(SHAPES[recipe.name])
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=recipe.weight_decay)
    counters: dict[str, Any] = {"step": 0, "seconds": 0.0, "loss": 0.0}
    if checkpoint.exists():
        counters = load(checkpoint, net, optimizer)
    saved = started = time.monotonic()
    before = counters["seconds"]
    for step, batch in _batches(recipe, pictures, counters["step"], device, workers):
        found, boxes = _step(net, optimizer, batch, _rate(step, recipe), device)
        counters["step"], counters["seconds"] = step + 1, before + time.monotonic() - started
        counters["loss"] = 0.98 * counters["loss"] + 0.02 * (found + boxes) if step else found + boxes
        if time.monotonic() - saved > save_every_s or step + 1 == recipe.steps:
            save(checkpoint, net, optimizer, counters)
            saved = time.monotonic()
            log(
                f"{recipe.name} step {step + 1} of {recipe.steps}: loss {counters['loss']:.3f} (now {found:.3f} + {boxes:.3f}), {counters['seconds']:.0f} s"
            )
    return net.eval()


class _Steps(Dataset[Batch]):
    """The batch of each step; pieces four times as large now and then, so that large objects are seen whole."""

    def __init__(self, recipe: Recipe, pieces: Pieces) -> None:
        self._recipe, self._pieces = recipe, pieces

    def __getitem__(self, step: int) -> Batch:
        recipe = self._recipe
        if recipe.name == "small" or step % WIDE_EVERY:
            return self._pieces.batch(step, recipe.batch, recipe.piece)
        return self._pieces.batch(step, max(2, recipe.batch // 4), (2 * recipe.piece[0], 2 * recipe.piece[1]))


def _batches(recipe: Recipe, pictures: Path, start: int, device: str, workers: int) -> Iterator[tuple[int, Batch]]:
    """More pictures may come while this runs: they are read anew now and then."""
    while start < recipe.steps:
        end = min(recipe.steps, start - start % READ_EVERY + READ_EVERY)
        steps = _Steps(recipe, Pieces(read(pictures), recipe.scales, recipe.seed))
        loader = DataLoader(steps, batch_size=None, sampler=range(start, end), num_workers=workers)
        for step, batch in zip(range(start, end), loader, strict=True):
            yield step, batch.to(device)
        start = end


def _step(
    net: Detector, optimizer: torch.optim.Optimizer, batch: Batch, rate: float, device: str
) -> tuple[float, float]:
    for group in optimizer.param_groups:
        group["lr"] = rate
    pixels = (batch.pixels.float() / 255).contiguous(memory_format=torch.channels_last)
    with torch.autocast(device, torch.bfloat16):
        middles, sides = net(pixels)
    found, boxes = loss(middles, sides, batch)
    optimizer.zero_grad()
    (found + boxes).backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(net.parameters(), 10.0)
    optimizer.step()
    return float(found.detach()), float(boxes.detach())


def _rate(step: int, recipe: Recipe) -> float:
    """Straight up, then half a cosine down to zero."""
    warmup = max(1, round(recipe.steps * recipe.warmup_share))
    if step < warmup:
        return recipe.peak_rate * (step + 1) / warmup
    share = (step - warmup) / max(1, recipe.steps - warmup)
    return recipe.peak_rate * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * share))))


def save(path: Path, net: nn.Module, optimizer: torch.optim.Optimizer, counters: dict[str, Any]) -> None:
    """Writes beside the old file and renames, so an interrupted write leaves the old one."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in net.named_parameters()}
    tensors: dict[str, Tensor] = {f"net/{name}": tensor for name, tensor in net.state_dict().items()}
    for parameter, state in optimizer.state.items():
        tensors |= {f"{key}/{names[parameter]}": torch.as_tensor(value) for key, value in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".writing")
    save_file(
        {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()},
        beside,
        {"counters": json.dumps(counters)},
    )
    os.replace(beside, path)


def load(path: Path, net: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """Restores what `save` wrote; returns the counters."""
    weights: dict[str, Tensor] = {}
    parameters = dict(net.named_parameters())
    with safe_open(path, framework="pt") as file:
        counters: dict[str, Any] = json.loads(file.metadata()["counters"])
        for key in file.keys():  # noqa: SIM118, not a dict
            kind, name = key.split("/", 1)
            if kind == "net":
                weights[name] = file.get_tensor(key)
            elif optimizer is not None:
                parameter = parameters[name]
                value = file.get_tensor(key)
                optimizer.state[parameter][kind] = value if kind == "step" else value.to(parameter.device)
    net.load_state_dict(weights)
    return counters

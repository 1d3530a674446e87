"""Pre-training of the packaged network from random weights; stops and goes on at the border of an epoch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from paceline.transfer.backbone.backbone import build
from training.vision.pictures import CLASSES, HELD_OUT_EPOCH, Alphabets, Batches


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """All that the weights depend on, beside the fonts and the libraries."""

    arch: str = "glyphnet"
    epochs: int = 8
    pictures_per_epoch: int = 24_576
    batch_size: int = 128
    peak_rate: float = 4e-3
    weight_decay: float = 0.02
    warmup_share: float = 0.1
    precision: str = "bfloat16"
    seed: int = 0
    held_out_pictures: int = 6_144


class Trainee(nn.Module):
    """The network with a head for its 248 classes; the head is not packaged."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        torch.manual_seed(recipe.seed)
        self.backbone = build(recipe.arch, norm="batch", num_inputs=1)
        self.head = nn.Linear(self.backbone.num_features, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """[B, 1, 64, 64] -> [B, 248]"""
        return self.head(self.backbone(x))


def rate_at(step: int, num_steps: int, recipe: Recipe) -> float:
    """Straight up, then half a cosine down to zero."""
    warmup = max(1, round(num_steps * recipe.warmup_share))
    if step < warmup:
        return recipe.peak_rate * (step + 1) / warmup
    share = (step - warmup) / max(1, num_steps - warmup)
    return recipe.peak_rate * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * share))))


def pretrain(
    alphabets: Alphabets, recipe: Recipe, checkpoint: Path, *, resume: bool, log: Callable[[str], None]
) -> tuple[Trainee, float]:
    """The trained network, and how many seconds its epochs took."""
    trainee = Trainee(recipe).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(trainee.parameters(), weight_decay=recipe.weight_decay)
    state: dict[str, Any] = {"epoch": 0, "seconds": 0.0}
    if resume and checkpoint.exists():
        state = _load(checkpoint, trainee, optimizer)
        log(f"goes on behind epoch {state['epoch']}")
    for epoch in range(state["epoch"], recipe.epochs):
        started = time.monotonic()
        loss = _run_epoch(trainee, optimizer, alphabets, recipe, epoch)
        state = {"epoch": epoch + 1, "seconds": state["seconds"] + time.monotonic() - started}
        _save(checkpoint, trainee, optimizer, state)
        log(f"epoch {epoch + 1} of {recipe.epochs}: loss {loss:.3f}, {state['seconds']:.0f} s in all")
    return trainee, float(state["seconds"])


def _run_epoch(
    trainee: Trainee, optimizer: torch.optim.Optimizer, alphabets: Alphabets, recipe: Recipe, epoch: int
) -> float:
    """Mean loss of the epoch's last quarter."""
    batches = Batches(alphabets, recipe.pictures_per_epoch, recipe.batch_size, recipe.seed, epoch)
    trainee.train()
    losses = []
    for place in range(len(batches)):
        images, labels = batches[place]
        for group in optimizer.param_groups:
            group["lr"] = rate_at(epoch * len(batches) + place, recipe.epochs * len(batches), recipe)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            logits = trainee(images.contiguous(memory_format=torch.channels_last))
        loss = functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    last = losses[-max(1, len(losses) // 4) :]
    return sum(last) / len(last)


@torch.inference_mode()
def evaluate(trainee: Trainee, alphabets: Alphabets, recipe: Recipe) -> dict[str, float]:
    """Top-1 on pictures that no epoch drew, in float32: of the classes, and of the characters alone."""
    trainee.eval()
    batches = Batches(alphabets, recipe.held_out_pictures, recipe.batch_size, recipe.seed, HELD_OUT_EPOCH)
    right = characters = 0
    for place in range(len(batches)):
        images, labels = batches[place]
        found = trainee(images).argmax(1)
        right += int((found == labels).sum())
        characters += int((found // 4 == labels // 4).sum())
    total = len(batches) * recipe.batch_size
    return {"top1": right / total, "character_top1": characters / total, "pictures": total}


def _save(path: Path, trainee: Trainee, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Writes beside the old file and renames, so an interrupted write leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".writing")
    torch.save({"trainee": trainee.state_dict(), "optimizer": optimizer.state_dict(), **state}, beside)
    os.replace(beside, path)


def _load(path: Path, trainee: Trainee, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    saved = torch.load(path, weights_only=True)
    trainee.load_state_dict(saved.pop("trainee"))
    optimizer.load_state_dict(saved.pop("optimizer"))
    return dict(saved)

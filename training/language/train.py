"""The training loop: warm-up, a constant rate for most of the time, a linear decay at the end.

A run may be cut at any checkpoint and continued with a new budget: its last part decays again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer

from training.language.checkpoint import load_checkpoint, save_checkpoint
from training.language.corpus import Batch, Corpus
from training.language.model import Qwen3

CLIP_NORM: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    minutes: float = 60.0  # wall clock of this run, pauses included
    max_steps: int = 1_000_000
    num_tokens: int = 4096  # per step
    peak_rate: float = 1.6e-3
    warmup_steps: int = 60
    decay_share: float = 0.5  # of the run's minutes
    weight_decay: float = 0.05
    teacher_share: float = 0.5  # of the loss, where there is a teacher
    save_every_s: float = 180.0
    seed: int = 0
    pause_file: Path | None = None  # no step is taken while this file exists


def make_optimizers(model: Qwen3, config: TrainConfig) -> list[Optimizer]:
    """Muon for the matrices of the layers, AdamW for the embedding and the norms."""
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [
        Muon(matrices, lr=config.peak_rate, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"),
        AdamW(others, lr=config.peak_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def rate_at(config: TrainConfig, step: int, elapsed_s: float) -> float:
    """The learning rate's share of its peak; `step` counts from this run's start.

    >>> config = TrainConfig(minutes=10, warmup_steps=10, decay_share=0.5)
    >>> rate_at(config, 4, 0), rate_at(config, 99, 300), rate_at(config, 99, 450), rate_at(config, 99, 600)
    (0.5, 1.0, 0.5, 0.0)
    """
    progress = max(elapsed_s / (config.minutes * 60), step / config.max_steps)
    return max(0.0, min((step + 1) / config.warmup_steps, (1 - progress) / config.decay_share, 1.0))


def batch_loss(model: Qwen3, batch: Batch, dtype: torch.dtype, teacher: Qwen3 | None, share: float) -> Tensor:
    """Weighted mean of the cross-entropy, taken only where a weight is set; mixed with the distance to a teacher."""
    device = next(model.parameters()).device
    ids = torch.from_numpy(batch.ids).to(device)
    weights = torch.from_numpy(batch.weights).to(device)[:, 1:].flatten()
    chosen = weights.nonzero().squeeze(1)
    targets, weights = ids[:, 1:].flatten()[chosen], weights[chosen] / weights.sum()
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        logits = chosen_logits(model, ids, chosen, dtype)
        loss = (F.cross_entropy(logits, targets, reduction="none") * weights).sum()
        if teacher is None:
            return loss
        with torch.no_grad():
            wanted = F.log_softmax(chosen_logits(teacher, ids, chosen, dtype), dim=-1)
        distance = F.kl_div(F.log_softmax(logits, dim=-1), wanted, reduction="none", log_target=True).sum(-1)
        return (1 - share) * loss + share * (distance * weights).sum()


def chosen_logits(model: Qwen3, ids: Tensor, chosen: Tensor, dtype: torch.dtype) -> Tensor:
    """Logits at the chosen positions of the rows without their last token.  # -> [N, V]"""
    hidden = model.hidden(ids, dtype)[:, :-1].flatten(0, 1)
    return model.logits(hidden[chosen]).float()


def wait_while(path: Path | None) -> None:
    while path is not None and path.exists():
        time.sleep(1.0)


def train(
    model: Qwen3,
    corpus: Corpus,
    config: TrainConfig,
    checkpoint: Path,
    *,
    resume: bool,
    on_save: Callable[[], None] = lambda: None,
    teacher: Qwen3 | None = None,
    log: Callable[[str], None] = print,
) -> None:
    """Trains in place until the minutes or the steps are spent."""
    optimizers = make_optimizers(model, config)
    counters = {"step": 0, "num_tokens": 0}
    if resume and checkpoint.exists():
        counters = load_checkpoint(checkpoint, model, optimizers)
    device = next(model.parameters()).device
    dtype = torch.bfloat16
    first, start_s, saved_s, mean = counters["step"], time.monotonic(), time.monotonic(), 0.0
    model.train()
    while (rate := rate_at(config, counters["step"] - first, time.monotonic() - start_s)) > 0:
        wait_while(config.pause_file)
        batch = corpus.batch(counters["step"], config.num_tokens)
        loss = step(model, optimizers, batch, rate * config.peak_rate, dtype, teacher, config.teacher_share)
        mean = loss if not mean else 0.95 * mean + 0.05 * loss
        counters["step"] += 1
        counters["num_tokens"] += batch.ids.size
        if counters["step"] % 20 == 0:
            pace = (time.monotonic() - start_s) / (counters["step"] - first)
            log(
                f"step {counters['step']} tokens {counters['num_tokens']} loss {mean:.4f} rate {rate:.3f} {pace:.2f} s/step"
            )
        if time.monotonic() - saved_s > config.save_every_s:
            save_checkpoint(checkpoint, model, optimizers, counters)
            saved_s = time.monotonic()
            on_save()
    save_checkpoint(checkpoint, model, optimizers, counters)
    log(f"done on {device}: {counters}")


def step(
    model: Qwen3,
    optimizers: list[Optimizer],
    batch: Batch,
    rate: float,
    dtype: torch.dtype,
    teacher: Qwen3 | None,
    share: float,
) -> float:
    loss = batch_loss(model, batch, dtype, teacher, share)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())

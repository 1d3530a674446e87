"""Rows of logits and samplers for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from paceline.llm.request import SamplingParams
from paceline.llm.sampler import Choice, SequenceSampler

V = 60
INF = np.inf


def sampler(vocab_size: int = V, *, output: tuple[int, ...] = (), **options: Any) -> SequenceSampler:
    own = {name: options.pop(name) for name in ("prompt_ids", "eos_ids", "bad_words", "seed") if name in options}
    made = SequenceSampler(SamplingParams(**options), vocab_size=vocab_size, **own)
    made.add(output)
    return made


def row(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def random_row(seed: int, size: int = V, scale: float = 2.0, digits: int = 1) -> np.ndarray:
    """Rounded, so that ties occur."""
    return (np.random.default_rng(seed).standard_normal(size) * scale).round(digits).astype(np.float32)


def greedy(logits: np.ndarray, **options: Any) -> int | str:
    chosen = sampler(len(logits), temperature=0.0, **options).choose(logits)
    return chosen.token_id if isinstance(chosen, Choice) else chosen.reason

"""Paceline's bare runner, without scheduler, sampler and text: what is left to the engine is the difference.

It also answers what the engine's surface does not offer in bulk: logits of every position.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import paceline
from benchmarks.common.child import resident_bytes, serve
from paceline.llm.config import EngineConfig
from paceline.llm.loading import shape
from paceline.llm.model.checkpoint import open_weights
from paceline.llm.rows import BLOCK_SIZE, RowBatch
from paceline.llm.runner import Runner, open_runner

QUANTIZE = {"bf16": None, "int8": "int8", "int4": "int4"}
MAX_ROWS = 512
NUM_BLOCKS = 512  # 32 sequences of 256 tokens
MODEL: dict[str, Runner] = {}


def load(path: str, weights: str, num_threads: int) -> dict[str, Any]:
    started_s = time.perf_counter()
    MODEL["it"] = _open(NUM_BLOCKS, model=path, quantize=QUANTIZE[weights], threads=num_threads)
    return {
        "load_s": time.perf_counter() - started_s,
        "resident_bytes": resident_bytes(),
        "version": paceline.__version__,
    }


def _open(num_blocks: int, **options: Any) -> Runner:
    config = EngineConfig(max_batched_tokens=MAX_ROWS, **options)
    folder = Path(config.model)
    model = shape(config, folder)
    return open_runner(config, model, open_weights(folder, model), num_blocks=num_blocks)[1]


def _rows(tokens: list[list[int]], num_cached: int, blocks_per_seq: int, *, all_logits: bool = False) -> RowBatch:
    """Equally many new tokens for every sequence, behind equally long pasts; sequence ``s`` owns its own run of blocks."""
    num_seqs, num_new = len(tokens), len(tokens[0])
    starts = np.arange(num_seqs + 1, dtype=np.int32) * num_new
    tables = np.arange(num_seqs * blocks_per_seq, dtype=np.int32).reshape(num_seqs, blocks_per_seq)
    return RowBatch(
        token_ids=np.array(tokens, np.int32).reshape(-1),
        positions=np.tile(np.arange(num_cached, num_cached + num_new, dtype=np.int32), num_seqs),
        row_starts=starts,
        num_cached=np.full(num_seqs, num_cached, np.int32),
        block_tables=tables,
        ancestors=np.zeros(num_seqs * num_new, np.uint64),
        logit_rows=np.arange(num_seqs * num_new, dtype=np.int32) if all_logits else starts[1:] - 1,
    )


def decode(prompts: list[list[int]], num_steps: int) -> dict[str, Any]:
    length = len(prompts[0])
    blocks_per_seq = -(-(length + num_steps) // BLOCK_SIZE)
    runner = MODEL["it"]
    tokens: NDArray[np.int64] = np.zeros(len(prompts), np.int64)
    group = max(1, MAX_ROWS // length)
    for first in range(0, len(prompts), group):
        batch = _rows(prompts[first : first + group], 0, blocks_per_seq)
        batch.block_tables[:] += first * blocks_per_seq
        tokens[first : first + group] = runner.forward(batch).argmax(-1)  # [B, V] -> [B]
    step_ms = []
    for num_cached in range(length, length + num_steps):
        batch = _rows([[int(token)] for token in tokens], num_cached, blocks_per_seq)
        started_s = time.perf_counter()
        logits = runner.forward(batch)
        step_ms.append(1e3 * (time.perf_counter() - started_s))
        tokens = logits.argmax(-1)
    return {"step_ms": step_ms}


def _windows(path: str, window: int, windows: list[list[int]], **options: Any) -> Iterator[NDArray[np.float32]]:
    runner = _open(-(-window // BLOCK_SIZE), model=path, **options)
    try:
        for ids in windows:
            # [T, V]; a copy, since the runner's buffer is good until its next call only
            yield runner.forward(_rows([ids], 0, -(-window // BLOCK_SIZE), all_logits=True)).copy()
    finally:
        runner.close()


def score(path: str, weights: str, windows: list[list[int]]) -> dict[str, Any]:
    """Summed negative log-likelihood (nats) of every token but each window's first, teacher-forced."""
    total = 0.0
    longest = max(map(len, windows))
    for ids, logits in zip(windows, _windows(path, longest, windows, quantize=QUANTIZE[weights]), strict=True):
        shifted = (logits - logits.max(-1, keepdims=True)).astype(np.float64)
        logprobs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
        total -= float(logprobs[np.arange(len(ids) - 1), ids[1:]].sum())
    return {"nats": total, "num_tokens": sum(len(ids) - 1 for ids in windows)}


def logits(path: str, prompts: list[list[int]], out: str) -> dict[str, Any]:
    """Writes float32 logits of every position to ``out``."""
    rows = list(_windows(path, len(prompts[0]), prompts, dtype="float32"))
    np.save(out, np.stack(rows))
    return {"shape": [len(rows), *rows[0].shape]}


if __name__ == "__main__":
    handlers = (load, decode, score, logits)
    serve({handler.__name__: handler for handler in handlers})

"""Paceline: the engine in this process, a step being what one more token of the last stream costs.

``decode_runner`` times the bare ``Runner.forward`` of the same batch: what is left is scheduling,
sampling and text.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paceline
from numpy.typing import NDArray

from benchmarks.common.child import intervals_ms, resident_bytes, serve
from paceline.llm.config import EngineConfig
from paceline.llm.engine import Engine
from paceline.llm.loading import shape
from paceline.llm.model.checkpoint import open_weights
from paceline.llm.request import SamplingParams
from paceline.llm.rows import BLOCK_SIZE, RowBatch
from paceline.llm.runner import Runner, open_runner

QUANTIZE = {"bf16": None, "int8": "int8", "int4": "int4"}
MODEL: dict[str, Any] = {}


def load(path: str, weights: str, num_threads: int, kv_memory: int | None = None) -> dict[str, Any]:
    config = EngineConfig(model=path, quantize=QUANTIZE[weights], threads=num_threads, kv_memory=kv_memory)  # type: ignore[arg-type]
    started_s = time.perf_counter()
    MODEL.update(engine=Engine(config), config=config)
    info = MODEL["engine"].info
    return {
        "load_s": time.perf_counter() - started_s,
        "resident_bytes": resident_bytes(),
        "version": paceline.__version__,
        "runner": info.runner,
        "weights_bytes": info.weights_bytes,
        "kv_bytes": info.kv_bytes,
    }


def memory() -> dict[str, Any]:
    info = MODEL["engine"].info
    return {"resident_bytes": resident_bytes(), "weights_bytes": info.weights_bytes, "kv_bytes": info.kv_bytes}


def decode(prompts: list[list[int]], num_steps: int) -> dict[str, Any]:
    """The last stream gets its first token when every other one has had its own: from there the batch is steady."""
    engine: Engine = MODEL["engine"]
    greedy = SamplingParams(temperature=0.0, ignore_eos=True, max_tokens=num_steps + 1 + len(prompts))
    streams = [engine.stream(ids, greedy) for ids in prompts]
    stamps_s = []
    for delta in streams[-1]:
        stamps_s.append(time.perf_counter())
        if len(delta.token_ids) != 1:
            raise RuntimeError(f"a step brought {len(delta.token_ids)} tokens")
        if len(stamps_s) > num_steps:
            break
    for stream in streams:
        close = getattr(stream, "close")  # noqa: B009 - an iterator whose class is a generator
        close()
    return {"step_ms": intervals_ms(stamps_s)}


def prefill(prompts: list[list[int]]) -> dict[str, Any]:
    one = SamplingParams(temperature=0.0, ignore_eos=True, max_tokens=1)
    started_s = time.perf_counter()
    MODEL["engine"].generate(prompts, one)
    return {"seconds": time.perf_counter() - started_s}


def offline(prompts: list[list[int]], num_tokens: int) -> dict[str, Any]:
    """All prompts at once through ``generate``: what the server's throughput is held against."""
    greedy = SamplingParams(temperature=0.0, ignore_eos=True, max_tokens=num_tokens)
    started_s = time.perf_counter()
    answers = MODEL["engine"].generate(prompts, greedy)
    seconds = time.perf_counter() - started_s
    return {"seconds": seconds, "num_tokens": sum(len(answer.token_ids) for answer in answers)}


# ── the bare runner ──────────────────────────────────────────────────────────────────────────────


def _runner(num_blocks: int, **changes: Any) -> Runner:
    config: EngineConfig = MODEL["config"] if not changes else EngineConfig(**changes)
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


def decode_runner(prompts: list[list[int]], num_steps: int) -> dict[str, Any]:
    length = len(prompts[0])
    blocks_per_seq = -(-(length + num_steps) // BLOCK_SIZE)
    if "runner" not in MODEL:
        MODEL["runner"] = _runner(32 * 16)
    runner: Runner = MODEL["runner"]
    tokens: NDArray[np.int64] = np.zeros(len(prompts), np.int64)
    group = max(1, 512 // length)  # what one step takes
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
    runner = _runner(-(-window // BLOCK_SIZE), model=path, **options)
    try:
        for ids in windows:
            yield runner.forward(_rows([ids], 0, -(-window // BLOCK_SIZE), all_logits=True))  # [T, V]
    finally:
        runner.close()


def score(path: str, weights: str, windows: list[list[int]]) -> dict[str, Any]:
    """Summed negative log-likelihood (nats) of every token but each window's first, teacher-forced."""
    total = 0.0
    longest = max(map(len, windows))
    for ids, logits in zip(
        windows, _windows(path, longest, windows, quantize=QUANTIZE[weights], max_batched_tokens=512), strict=True
    ):
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
    handlers = (load, memory, decode, prefill, offline, decode_runner, score, logits)
    serve({handler.__name__: handler for handler in handlers})

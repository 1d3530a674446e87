"""llama.cpp: ``llama_decode`` with explicit batches, a step being one call and the argmax of its logits."""

from __future__ import annotations

import ctypes
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from benchmarks.common.child import intervals_ms, resident_bytes, serve
from benchmarks.engine.workers.gguf_file import converted

KINDS = {"bf16": "bf16", "int8": "q8_0", "int4": "q4_0"}
MAX_SEQS, CONTEXT, MAX_ROWS = 32, 640, 2048


class _Model:
    """One model, its context and one reusable batch."""

    def __init__(self, path: Path, num_threads: int) -> None:
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            raise RuntimeError(f"llama.cpp cannot load {path.name}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = MAX_SEQS * CONTEXT
        params.n_batch = MAX_ROWS
        params.n_ubatch = 512
        params.n_seq_max = MAX_SEQS
        params.n_threads = params.n_threads_batch = num_threads
        params.no_perf = True
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        if not self.context:
            raise RuntimeError("llama.cpp cannot make a context")
        self.vocab_size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.batch = llama_cpp.llama_batch_init(MAX_ROWS, 0, 1)

    def clear(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def step(self, rows: list[tuple[int, int, int, bool]]) -> NDArray[np.int64]:
        """Runs (token, position, sequence, wants logits) rows; the greedy tokens of those that want them."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for row, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[row] = token
            batch.pos[row] = position
            batch.n_seq_id[row] = 1
            batch.seq_id[row][0] = sequence
            batch.logits[row] = wanted
        status = llama_cpp.llama_decode(self.context, batch)
        if status != 0:
            raise RuntimeError(f"llama_decode returned {status}")
        num_outputs = sum(row[3] for row in rows)
        address = ctypes.cast(llama_cpp.llama_get_logits(self.context), ctypes.POINTER(ctypes.c_float))
        logits = np.ctypeslib.as_array(address, (num_outputs, self.vocab_size))
        greedy: NDArray[np.int64] = logits.argmax(-1)  # [L, V] -> [L]
        return greedy


MODEL: dict[str, _Model] = {}


def load(path: str, weights: str, num_threads: int) -> dict[str, Any]:
    file = converted(Path(path), KINDS[weights])
    started_s = time.perf_counter()
    MODEL["it"] = _Model(file, num_threads)
    return {
        "load_s": time.perf_counter() - started_s,
        "resident_bytes": resident_bytes(),
        "version": metadata.version("llama-cpp-python"),
    }


def _prefill(prompts: list[list[int]]) -> NDArray[np.int64]:
    rows = [
        (token, position, sequence, position == len(ids) - 1)
        for sequence, ids in enumerate(prompts)
        for position, token in enumerate(ids)
    ]
    return MODEL["it"].step(rows)


def decode(prompts: list[list[int]], num_steps: int) -> dict[str, Any]:
    model = MODEL["it"]
    model.clear()
    tokens = _prefill(prompts)
    start = len(prompts[0])
    stamps_s = [time.perf_counter()]
    for position in range(start, start + num_steps):
        rows = [(int(token), position, sequence, True) for sequence, token in enumerate(tokens)]
        tokens = model.step(rows)
        stamps_s.append(time.perf_counter())
    return {"step_ms": intervals_ms(stamps_s)}


def prefill(prompts: list[list[int]]) -> dict[str, Any]:
    MODEL["it"].clear()
    started_s = time.perf_counter()
    _prefill(prompts)
    return {"seconds": time.perf_counter() - started_s}


if __name__ == "__main__":
    serve({"load": load, "decode": decode, "prefill": prefill})

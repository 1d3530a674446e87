"""Paceline: the engine in this process, a step being what one more token of the last stream costs."""

from __future__ import annotations

import time
from typing import Any

import paceline
from benchmarks.common.child import intervals_ms, resident_bytes, serve
from paceline.llm.config import EngineConfig
from paceline.llm.engine import Engine
from paceline.llm.request import SamplingParams

QUANTIZE = {"bf16": None, "int8": "int8", "int4": "int4"}
HEADROOM = 128  # tokens: no stream may end before the last one was timed, however the prompts were chunked
MODEL: dict[str, Engine] = {}


def load(path: str, weights: str, num_threads: int, kv_memory: int | None = None) -> dict[str, Any]:
    config = EngineConfig(model=path, quantize=QUANTIZE[weights], threads=num_threads, kv_memory=kv_memory)  # type: ignore[arg-type]
    started_s = time.perf_counter()
    engine = MODEL["it"] = Engine(config)
    info = engine.info
    return {
        "load_s": time.perf_counter() - started_s,
        "resident_bytes": resident_bytes(),
        "version": paceline.__version__,
        "runner": info.runner,
        "weights_bytes": info.weights_bytes,
        "kv_bytes": info.kv_bytes,
    }


def memory() -> dict[str, Any]:
    info = MODEL["it"].info
    return {"resident_bytes": resident_bytes(), "weights_bytes": info.weights_bytes, "kv_bytes": info.kv_bytes}


def decode(prompts: list[list[int]], num_steps: int) -> dict[str, Any]:
    """The last stream gets its first token when every other one has had its own: from there the batch is steady.

    Every stream is asked once, because only a stream that was asked ends its request when it is closed.
    """
    engine = MODEL["it"]
    greedy = SamplingParams(temperature=0.0, ignore_eos=True, max_tokens=num_steps + HEADROOM)
    streams = [engine.stream(ids, greedy) for ids in prompts]
    for stream in streams[:-1]:
        next(stream)
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
    MODEL["it"].generate(prompts, one)
    return {"seconds": time.perf_counter() - started_s}


def offline(prompts: list[list[int]], num_tokens: int) -> dict[str, Any]:
    """All prompts at once through ``generate``: what the server's throughput is held against."""
    greedy = SamplingParams(temperature=0.0, ignore_eos=True, max_tokens=num_tokens)
    started_s = time.perf_counter()
    answers = MODEL["it"].generate(prompts, greedy)
    seconds = time.perf_counter() - started_s
    return {"seconds": seconds, "num_tokens": sum(len(answer.token_ids) for answer in answers)}


if __name__ == "__main__":
    handlers = (load, memory, decode, prefill, offline)
    serve({handler.__name__: handler for handler in handlers})

"""vLLM's CPU build: its engine in this process, a step being one call of ``LLMEngine.step``."""

from __future__ import annotations

import os
import time
from importlib import metadata
from typing import Any

from benchmarks.common.child import intervals_ms, resident_bytes, serve

MODEL: dict[str, Any] = {}


def load(path: str, weights: str, num_threads: int) -> dict[str, Any]:
    if weights != "bf16":
        raise ValueError(f"this arm has no {weights} weights")
    os.environ.update(
        VLLM_ENABLE_V1_MULTIPROCESSING="0",
        VLLM_CPU_KVCACHE_SPACE="1",
        VLLM_CPU_OMP_THREADS_BIND=",".join(str(core) for core in sorted(os.sched_getaffinity(0))[:num_threads]),
        VLLM_NO_USAGE_STATS="1",
        HF_HUB_OFFLINE="1",
    )
    from vllm import LLM

    started_s = time.perf_counter()
    model = LLM(
        model=path,
        dtype="bfloat16",
        skip_tokenizer_init=True,
        max_model_len=1024,
        max_num_seqs=32,
        max_num_batched_tokens=2048,
        enable_prefix_caching=False,
        disable_log_stats=True,
    )
    MODEL["it"] = model.llm_engine
    return {
        "load_s": time.perf_counter() - started_s,
        "resident_bytes": resident_bytes(),
        "version": metadata.version("vllm-cpu"),
    }


def _generate(prompts: list[list[int]], num_steps: int) -> tuple[float, list[float], list[int]]:
    """(start, time after each step, tokens of each step)."""
    from vllm import SamplingParams

    engine = MODEL["it"]
    greedy = SamplingParams(temperature=0.0, max_tokens=num_steps, ignore_eos=True, detokenize=False)
    started_s = time.perf_counter()
    for index, ids in enumerate(prompts):
        engine.add_request(str(index), {"prompt_token_ids": ids}, greedy)
    stamps_s, num_outputs = [], []
    while engine.has_unfinished_requests():
        num_outputs.append(len(engine.step()))
        stamps_s.append(time.perf_counter())
    return started_s, stamps_s, num_outputs


def decode(prompts: list[list[int]], num_steps: int) -> dict[str, Any]:
    _, stamps_s, num_outputs = _generate(prompts, num_steps + 1)
    if num_outputs != [len(prompts)] * (num_steps + 1):
        raise RuntimeError(f"the batch was not steady: {num_outputs}")
    return {"step_ms": intervals_ms(stamps_s)}


def prefill(prompts: list[list[int]]) -> dict[str, Any]:
    started_s, stamps_s, _ = _generate(prompts, 1)
    return {"seconds": stamps_s[-1] - started_s}


if __name__ == "__main__":
    serve({"load": load, "decode": decode, "prefill": prefill})

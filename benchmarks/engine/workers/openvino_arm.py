"""OpenVINO GenAI: its continuous-batching pipeline, a step being one call of ``ContinuousBatchingPipeline.step``."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai

from benchmarks.common.child import intervals_ms, resident_bytes, serve

MODEL: dict[str, Any] = {}
FORMATS = {"bf16": "fp16", "int8": "int8", "int4": "int4"}  # stored as fp16, computed in bfloat16


def load(path: str, weights: str, num_threads: int) -> dict[str, Any]:
    folder = _export(Path(path), FORMATS[weights])
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.max_num_batched_tokens = 2048
    scheduler.max_num_seqs = 32
    scheduler.cache_size = 1
    scheduler.enable_prefix_caching = False
    started_s = time.perf_counter()
    MODEL["it"] = openvino_genai.ContinuousBatchingPipeline(
        folder,
        scheduler,
        "CPU",
        {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": num_threads},
    )
    return {
        "load_s": time.perf_counter() - started_s,
        "resident_bytes": resident_bytes(),
        "version": metadata.version("openvino-genai"),
    }


def _export(source: Path, weight_format: str) -> Path:
    """The peer's own converter, once per model and format."""
    target = source.with_name(f"{source.name}-openvino-{weight_format}")
    if not target.exists():
        partial = target.with_name(target.name + ".part")
        shutil.rmtree(partial, ignore_errors=True)
        task = ("--task", "text-generation-with-past")
        converter = Path(sys.executable).with_name("optimum-cli")
        subprocess.run(
            [converter, "export", "openvino", "--model", source, *task, "--weight-format", weight_format, partial],
            check=True,
            stdout=sys.stderr,
        )
        partial.rename(target)
    return target


def _generate(prompts: list[list[int]], num_steps: int) -> tuple[float, list[float]]:
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = num_steps
    config.ignore_eos = True
    config.do_sample = False
    tensors = [openvino.Tensor(np.array([ids], np.int64)) for ids in prompts]
    pipeline = MODEL["it"]
    started_s = time.perf_counter()
    handles = [pipeline.add_request(index, tensor, config) for index, tensor in enumerate(tensors)]
    stamps_s = []
    while pipeline.has_non_finished_requests():
        pipeline.step()
        stamps_s.append(time.perf_counter())
    lengths = {len(output.generated_ids) for handle in handles for output in handle.read_all()}
    if lengths != {num_steps} or len(stamps_s) != num_steps:
        raise RuntimeError(f"the batch was not steady: {len(stamps_s)} steps for {lengths} tokens, not {num_steps}")
    return started_s, stamps_s


def decode(prompts: list[list[int]], num_steps: int) -> dict[str, Any]:
    _, stamps_s = _generate(prompts, num_steps + 1)
    return {"step_ms": intervals_ms(stamps_s)}


def prefill(prompts: list[list[int]]) -> dict[str, Any]:
    started_s, stamps_s = _generate(prompts, 1)
    return {"seconds": stamps_s[-1] - started_s}


if __name__ == "__main__":
    serve({"load": load, "decode": decode, "prefill": prefill})

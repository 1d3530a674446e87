"""transformers: ``generate`` on a bfloat16 model, a step being the time between two calls of its stopping rule."""

from __future__ import annotations

import time
from importlib import metadata
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, StoppingCriteria, StoppingCriteriaList

from benchmarks.common.child import intervals_ms, resident_bytes, serve

MODEL: dict[str, Any] = {}


class _Stamps(StoppingCriteria):
    def __init__(self) -> None:
        self.stamps_s: list[float] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        self.stamps_s.append(time.perf_counter())
        return torch.zeros(input_ids.shape[0], dtype=torch.bool)


def load(path: str, weights: str, num_threads: int) -> dict[str, Any]:
    if weights != "bf16":
        raise ValueError(f"this arm has no {weights} weights")
    torch.set_num_threads(num_threads)
    started_s = time.perf_counter()
    MODEL["it"] = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16).eval()
    return {
        "load_s": time.perf_counter() - started_s,
        "resident_bytes": resident_bytes(),
        "version": metadata.version("transformers"),
    }


def _generate(prompts: list[list[int]], num_steps: int) -> tuple[float, list[float]]:
    stamps = _Stamps()
    ids = torch.tensor(prompts)  # [B, T]
    greedy = GenerationConfig(
        do_sample=False, min_new_tokens=num_steps, max_new_tokens=num_steps, eos_token_id=None, pad_token_id=0
    )
    started_s = time.perf_counter()
    MODEL["it"].generate(
        ids,
        attention_mask=torch.ones_like(ids),
        generation_config=greedy,
        stopping_criteria=StoppingCriteriaList([stamps]),
    )
    return started_s, stamps.stamps_s


def decode(prompts: list[list[int]], num_steps: int) -> dict[str, Any]:
    _, stamps_s = _generate(prompts, num_steps + 1)
    return {"step_ms": intervals_ms(stamps_s)}


def prefill(prompts: list[list[int]]) -> dict[str, Any]:
    started_s, stamps_s = _generate(prompts, 1)
    return {"seconds": stamps_s[0] - started_s}


def tiny(family: str, path: str) -> dict[str, Any]:
    """Writes a small random float32 model of a family."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family,
        vocab_size=512,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        eos_token_id=0,
        bos_token_id=0,
        **({"sliding_window": 16} if family == "mistral" else {}),
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(path)
    return {}


def logits(path: str, prompts: list[list[int]], out: str) -> dict[str, Any]:
    """Writes float32 logits of every position to ``out``."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    with torch.inference_mode():
        found = model(torch.tensor(prompts)).logits  # [B, T] -> [B, T, V]
    np.save(out, found.numpy())
    return {"shape": list(found.shape)}


if __name__ == "__main__":
    handlers = (load, decode, prefill, tiny, logits)
    serve({handler.__name__: handler for handler in handlers})

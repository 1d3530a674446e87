"""What a model folder proposes for sampling: ``generation_config.json``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from paceline.llm.model.folder import Fields, read_json


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationDefaults:
    """Sampling values a request takes where it names none, and the ids that end a text.

    A value is None where the folder says nothing.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()


def read_generation(folder: Path) -> GenerationDefaults:
    """Defaults of ``folder``; ids come from ``config.json`` where ``generation_config.json`` is silent.

    ``do_sample: false`` means temperature 0. Raises ``ModelError`` for values of the wrong type or range.
    """
    generation = read_json(folder, "generation_config.json") or Fields("generation_config.json", {})
    config = read_json(folder, "config.json") or Fields("config.json", {})
    bos = generation.token_ids("bos_token_id") or config.token_ids("bos_token_id")
    greedy = "do_sample" in generation and not generation.boolean("do_sample", True)
    return GenerationDefaults(
        temperature=0.0 if greedy else _number(generation, "temperature", 100.0),
        top_p=_number(generation, "top_p", 1.0),
        top_k=generation.integer("top_k", low=0) if "top_k" in generation else None,
        min_p=_number(generation, "min_p", 1.0),
        repetition_penalty=_number(generation, "repetition_penalty", 10.0),
        bos_token_id=bos[0] if bos else None,
        eos_token_ids=generation.token_ids("eos_token_id") or config.token_ids("eos_token_id"),
    )


def _number(fields: Fields, key: str, high: float) -> float | None:
    return fields.number(key, high=high) if key in fields else None

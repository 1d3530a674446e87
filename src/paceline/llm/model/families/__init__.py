"""Model families: one file each, one line in ``FAMILIES`` each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from paceline.errors import ModelError
from paceline.llm.model.config import ModelConfig
from paceline.llm.model.families import llama, mistral, qwen2, qwen3
from paceline.llm.model.folder import Fields, read_json

FAMILIES: dict[str, Callable[[Fields], ModelConfig]] = {  # keyed by the architecture that config.json names
    "LlamaForCausalLM": llama.read,
    "MistralForCausalLM": mistral.read,
    "Qwen2ForCausalLM": qwen2.read,
    "Qwen3ForCausalLM": qwen3.read,
}


def read_config(folder: Path) -> ModelConfig:
    """The network that ``folder/config.json`` describes.

    Code that the folder refers to (``auto_map``) is neither imported nor needed. Raises ``ModelError`` when the
    file is missing or asks for something that this package cannot run.
    """
    fields = read_json(folder, "config.json")
    if fields is None:
        raise ModelError(f"{folder}: no config.json; give the folder of a Hugging Face model")
    names = fields.values.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    if not isinstance(name, str) or name not in FAMILIES:
        raise fields.wrong("architectures", f"a list that starts with one of {sorted(FAMILIES)}")
    return FAMILIES[name](fields)

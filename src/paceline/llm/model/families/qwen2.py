"""Qwen 1.5, 2 and 2.5: biases on query, key and value."""

from __future__ import annotations

from paceline.llm.model.config import ModelConfig
from paceline.llm.model.families.decoder_fields import decoder_config, qwen_window
from paceline.llm.model.folder import Fields


def read(fields: Fields) -> ModelConfig:
    return decoder_config(fields, "qwen2", qkv_bias=True, sliding_window=qwen_window(fields))

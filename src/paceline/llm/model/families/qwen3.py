"""Qwen 3: a norm over each head of query and key, and heads of 128 unless told otherwise."""

from __future__ import annotations

from paceline.llm.model.config import ModelConfig
from paceline.llm.model.families.decoder_fields import decoder_config, qwen_window
from paceline.llm.model.folder import Fields


def read(fields: Fields) -> ModelConfig:
    bias = fields.boolean("attention_bias", False)
    return decoder_config(
        fields, "qwen3", qk_norm=True, head_dim=128, qkv_bias=bias, o_bias=bias, sliding_window=qwen_window(fields)
    )

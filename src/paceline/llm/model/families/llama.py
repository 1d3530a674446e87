"""Llama 2 and 3."""

from __future__ import annotations

from paceline.llm.model.config import ModelConfig
from paceline.llm.model.families.decoder_fields import decoder_config
from paceline.llm.model.folder import Fields


def read(fields: Fields) -> ModelConfig:
    """``attention_bias`` puts biases on all four projections of the attention."""
    bias = fields.boolean("attention_bias", False)
    return decoder_config(fields, "llama", qkv_bias=bias, o_bias=bias)

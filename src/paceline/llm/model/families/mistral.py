"""Mistral: Llama with a sliding window in every layer."""

from __future__ import annotations

from paceline.llm.model.config import ModelConfig
from paceline.llm.model.families.decoder_fields import decoder_config, window_of
from paceline.llm.model.folder import Fields


def read(fields: Fields) -> ModelConfig:
    """A folder that does not name ``sliding_window`` has 4096; null means none."""
    return decoder_config(fields, "mistral", sliding_window=window_of(fields, 4096))

"""What proposers are made for in tests."""

from __future__ import annotations

from pathlib import Path

from paceline.llm.config import EngineConfig
from paceline.llm.draft.proposer import Setup
from paceline.llm.model.config import ModelConfig


def setup_for(vocab_size: int = 256, *, share_outputs: bool = True) -> Setup:
    model = ModelConfig(
        family="qwen3",
        vocab_size=vocab_size,
        hidden_size=8,
        num_layers=1,
        num_heads=1,
        num_kv_heads=1,
        head_dim=8,
        intermediate_size=8,
        norm_eps=1e-6,
        max_model_len=64,
        rope_theta=1e4,
    )
    return Setup(EngineConfig(model="tiny", share_outputs=share_outputs), model, Path("tiny"))

"""Rotary tables against those of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paceline.llm.model.families import read_config
from paceline.llm.model.rope import attention_factor, inverse_frequencies, rope_tables
from tests.llm.folders import write_folder

KINDS: list[dict[str, Any]] = [
    {"rope_type": "linear", "factor": 4.0},
    {"rope_type": "dynamic", "factor": 4.0},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
     "original_max_position_embeddings": 128},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128, "attention_factor": 1.3},
    {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64, "mscale": 0.7, "mscale_all_dim": 0.5,
     "truncate": False, "beta_fast": 20, "beta_slow": 2},
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [100, 512, 2000])
def test_frequencies_equal_transformers(tmp_path: Path, kind: dict[str, Any], length: int) -> None:
    from transformers import AutoConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    folder = write_folder(tmp_path, "llama", rope_scaling=kind, rope_theta=50000.0)
    config = read_config(folder)
    hf_config = AutoConfig.from_pretrained(folder)
    expected, factor = ROPE_INIT_FUNCTIONS[kind["rope_type"]](hf_config, "cpu", seq_len=length)
    np.testing.assert_allclose(inverse_frequencies(config, length), expected.numpy(), rtol=1e-6)
    assert attention_factor(config.rope_scaling) == pytest.approx(factor)


def test_tables_hold_one_row_per_position(tmp_path: Path) -> None:
    config = read_config(write_folder(tmp_path, "llama"))
    cos, sin = rope_tables(config, 10)
    assert cos.shape == sin.shape == (10, 8)
    assert cos.dtype == sin.dtype == np.float32
    np.testing.assert_allclose(cos**2 + sin**2, 1, rtol=1e-6)
    np.testing.assert_allclose(cos[:, 0], np.cos(np.arange(10)), rtol=1e-6)


def test_yarn_multiplies_its_attention_factor_in(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "llama", rope_scaling={"type": "yarn", "factor": 4.0, "attention_factor": 1.25})
    cos, sin = rope_tables(read_config(folder), 20)
    np.testing.assert_allclose(cos**2 + sin**2, 1.25**2, rtol=1e-5)


def test_dynamic_is_plain_up_to_the_trained_length(tmp_path: Path) -> None:
    plain = read_config(write_folder(tmp_path / "a", "llama"))
    dynamic = read_config(write_folder(tmp_path / "b", "llama", rope_scaling={"type": "dynamic", "factor": 4.0}))
    assert dynamic.max_model_len == plain.max_model_len
    np.testing.assert_allclose(rope_tables(dynamic, 512)[0], rope_tables(plain, 512)[0], rtol=1e-6)

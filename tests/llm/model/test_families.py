"""Reading config.json: what is understood, and how the rest is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import ModelError
from paceline.llm.model.config import ModelConfig, RopeScaling
from paceline.llm.model.families import FAMILIES, read_config
from tests.llm.folders import tiny_config


def write_config(folder: Path, family: str = "llama", **overrides: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(tiny_config(family) | overrides))
    return folder


def test_every_family_is_covered_by_the_fixtures() -> None:
    assert {tiny_config(family)["architectures"][0] for family in ("llama", "mistral", "qwen2", "qwen3")} == set(
        FAMILIES
    )


def test_qwen3_in_full(tmp_path: Path) -> None:
    assert read_config(write_config(tmp_path, "qwen3", dtype="bfloat16")) == ModelConfig(
        family="qwen3",
        vocab_size=384,
        hidden_size=64,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=32,
        intermediate_size=128,
        norm_eps=1e-6,
        max_model_len=512,
        rope_theta=10000.0,
        qk_norm=True,
        tied_embeddings=True,
        dtype="bfloat16",
    )


@pytest.mark.parametrize(
    ("family", "overrides", "field", "expected"),
    [
        ("mistral", {}, "sliding_window", 24),
        ("mistral", {"sliding_window": None}, "sliding_window", None),
        ("mistral", {"sliding_window": 4096}, "sliding_window", None),
        ("qwen2", {}, "qkv_bias", True),
        ("qwen2", {"use_sliding_window": False, "sliding_window": 20}, "sliding_window", None),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 2}, "sliding_window", None),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 0}, "sliding_window", 20),
        ("qwen3", {"head_dim": None}, "head_dim", 128),
        ("llama", {"attention_bias": True}, "o_bias", True),
        ("llama", {"num_key_value_heads": None}, "num_kv_heads", 4),
        ("llama", {"dtype": None, "torch_dtype": "float16"}, "dtype", "float16"),
        ("llama", {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}, "rope_theta", 5e5),
        ("llama", {"rope_theta": 5e5}, "rope_theta", 5e5),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 4.0}}, "max_model_len", 2048),
        ("llama", {"rope_scaling": {"type": "dynamic", "factor": 4.0}}, "max_model_len", 512),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2}}, "rope_scaling",
         RopeScaling(kind="linear", factor=2.0, original_max_position=512)),
        ("qwen3", {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256}},
         "max_model_len", 1024),
    ],
)  # fmt: skip
def test_fields(tmp_path: Path, family: str, overrides: dict[str, Any], field: str, expected: object) -> None:
    assert getattr(read_config(write_config(tmp_path, family, **overrides)), field) == expected


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "architectures must be .*LlamaForCausalLM.*GPT2LMHeadModel"),
        ({"architectures": None}, "architectures .* missing"),
        ({"hidden_act": "gelu"}, "hidden_act must be one of .*silu.*gelu"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"quantization_config": {"quant_method": "gptq"}}, "gptq.*--quantize"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "rope_type must be one of .*longrope"),
        ({"rope_scaling": {"type": "linear"}}, "factor must be .* missing"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "differ between layers"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"hidden_size": -64}, "hidden_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"hidden_size": "64"}, "hidden_size"),
        ({"vocab_size": 1e9}, "vocab_size"),
        ({"num_key_value_heads": 3}, "divisor"),
        ({"head_dim": 15}, "even"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps"),
        ({"dtype": "int8"}, "dtype"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
    ],
)
def test_refusals_name_key_and_value(tmp_path: Path, overrides: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        read_config(write_config(tmp_path, **overrides))


def test_mixed_window_layers_are_refused(tmp_path: Path) -> None:
    folder = write_config(tmp_path, "qwen2", use_sliding_window=True, sliding_window=20, max_window_layers=1)
    with pytest.raises(ModelError, match="mixes windowed and full layers"):
        read_config(folder)


def test_missing_config(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        read_config(tmp_path)


def test_code_in_the_folder_is_never_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    code = f"open({str(canary)!r}, 'w').close()\n"
    for module in ("modeling_evil", "configuration_evil", "tokenization_evil"):
        (tmp_path / f"{module}.py").write_text(code)
    auto_map = {"AutoConfig": "configuration_evil.Config", "AutoModelForCausalLM": "modeling_evil.Model"}
    write_config(tmp_path, auto_map=auto_map, trust_remote_code=True)
    assert read_config(tmp_path).family == "llama"
    assert not canary.exists()

"""The part of ``config.json`` that every family of the Llama line shares."""

from __future__ import annotations

import math
from typing import Any, cast

from paceline.errors import ModelError
from paceline.llm.model.config import DType, ModelConfig, RopeScaling
from paceline.llm.model.folder import Fields

MAX_LAYERS = 512
MAX_WIDTH = 2**20

_DTYPES = ("float32", "bfloat16", "float16")
_KINDS = ("default", "linear", "dynamic", "llama3", "yarn")


def decoder_config(fields: Fields, family: str, **family_values: Any) -> ModelConfig:
    """Read the shared keys of ``fields``; ``family_values`` are set on top of them.

    Old (``rope_theta``, ``rope_scaling``) and new (``rope_parameters``) spellings are both read. Raises
    ``ModelError`` for what this package cannot run, naming the key and its value.
    """
    _refuse_unsupported(fields)
    hidden = fields.integer("hidden_size", high=MAX_WIDTH)
    heads = fields.integer("num_attention_heads", high=MAX_WIDTH)
    kv_heads = fields.integer("num_key_value_heads", heads, high=MAX_WIDTH)
    if heads % kv_heads:
        raise fields.wrong("num_key_value_heads", f"a divisor of num_attention_heads = {heads}")
    head_dim = fields.integer("head_dim", family_values.pop("head_dim", None) or hidden // heads, high=4096)
    if head_dim % 2:
        raise ModelError(f"{fields.source}: head_dim must be even for rotary positions, got {head_dim}")
    theta, scaling = _rope(fields)
    values: dict[str, Any] = {
        "family": family,
        "vocab_size": fields.integer("vocab_size", high=2**24),
        "hidden_size": hidden,
        "num_layers": fields.integer("num_hidden_layers", high=MAX_LAYERS),
        "num_heads": heads,
        "num_kv_heads": kv_heads,
        "head_dim": head_dim,
        "intermediate_size": fields.integer("intermediate_size", high=MAX_WIDTH),
        "norm_eps": fields.number("rms_norm_eps", 1e-6, high=1.0),
        "max_model_len": _max_model_len(fields, scaling),
        "rope_theta": theta,
        "rope_scaling": scaling,
        "tied_embeddings": fields.boolean("tie_word_embeddings", False),
        "dtype": cast(DType, fields.choice("dtype" if "dtype" in fields else "torch_dtype", _DTYPES, "float32")),
    }
    return ModelConfig(**values | family_values)


def window_of(fields: Fields, default: int | None) -> int | None:
    """Sliding window of every layer; None where it is absent or as long as the context."""
    value = fields.values.get("sliding_window", default)  # null means none, absent the default
    if value is None:
        return None
    window = fields.integer("sliding_window", default)
    return window if window < _positions(fields) else None


def qwen_window(fields: Fields) -> int | None:
    """Sliding window of a Qwen model, which switches it on with ``use_sliding_window`` and may mix layers."""
    if not fields.boolean("use_sliding_window", False) or (window := window_of(fields, 4096)) is None:
        return None
    num_layers = fields.integer("num_hidden_layers", high=MAX_LAYERS)
    first = fields.integer("max_window_layers", 28, low=0)
    kinds = fields.values.get("layer_types") or ["full_attention"] * first + ["sliding_attention"] * num_layers
    layers = set(kinds[:num_layers])
    if layers == {"full_attention"}:
        return None
    if layers != {"sliding_attention"}:
        raise ModelError(
            f"{fields.source}: max_window_layers = {first} mixes windowed and full layers, which is not supported; "
            f"set use_sliding_window to false to attend to all positions up to {window}"
        )
    return window


def _refuse_unsupported(fields: Fields) -> None:
    fields.choice("hidden_act", ("silu", "swish"), "silu")
    if "quantization_config" in fields:
        method = repr((fields.section("quantization_config") or fields).values.get("quant_method"))[:40]
        raise ModelError(
            f"{fields.source}: quantization_config ({method}) is not supported; "
            "load the unquantised checkpoint and pass --quantize int8 or int4"
        )
    if fields.boolean("mlp_bias", False):
        raise fields.wrong("mlp_bias", "false (biases in the feed-forward are not supported)")


def _positions(fields: Fields) -> int:
    return fields.integer("max_position_embeddings", 2048, high=2**27)


def _max_model_len(fields: Fields, scaling: RopeScaling | None) -> int:
    positions = _positions(fields)
    if scaling is None or scaling.kind in {"dynamic", "llama3"}:
        return positions
    # "linear" folders keep the trained length in max_position_embeddings; "yarn" folders either length
    stretched = int((positions if scaling.kind == "linear" else scaling.original_max_position) * scaling.factor)
    return min(max(positions, stretched), 2**27)


def _rope(fields: Fields) -> tuple[float, RopeScaling | None]:
    rope = fields.section("rope_scaling") or fields.section("rope_parameters") or Fields(fields.source, {})
    source = rope if "rope_theta" in rope else fields
    theta = source.number("rope_theta", 10000.0, low=1.0, high=1e15)
    if any(isinstance(value, dict) for value in rope.values.values()):
        raise ModelError(f"{rope.source}: rotary positions that differ between layers are not supported")
    key = "rope_type" if "rope_type" in rope else "type"
    kind = rope.choice(key, _KINDS, "default")
    if rope.number("partial_rotary_factor", fields.number("partial_rotary_factor", 1.0)) != 1.0:
        raise rope.wrong("partial_rotary_factor", "1.0 (partly rotated heads are not supported)")
    if kind == "default":
        return theta, None
    positions = _positions(fields)
    outer = fields.integer("original_max_position_embeddings", positions, high=2**27)
    original = positions if kind == "dynamic" else rope.integer("original_max_position_embeddings", outer, high=2**27)
    factor = rope.number("factor", max(1.0, positions / original) if kind == "yarn" else None, low=1.0, high=1e6)
    if kind == "llama3":
        low, high = rope.number("low_freq_factor", low=1e-6), rope.number("high_freq_factor", low=1e-6)
        if high <= low:
            raise rope.wrong("high_freq_factor", f"above low_freq_factor = {low:g}")
        return theta, RopeScaling(
            kind="llama3", factor=factor, original_max_position=original, low_freq_factor=low, high_freq_factor=high
        )
    if kind == "yarn":
        return theta, _yarn(rope, factor, original)
    return theta, RopeScaling(
        kind="linear" if kind == "linear" else "dynamic", factor=factor, original_max_position=original
    )


def _yarn(rope: Fields, factor: float, original: int) -> RopeScaling:
    attention = rope.number("attention_factor") if "attention_factor" in rope else None
    mscale, mscale_all = rope.number("mscale", 0.0), rope.number("mscale_all_dim", 0.0)
    if attention is None and mscale and mscale_all:
        log = math.log(factor)
        attention = (0.1 * mscale * log + 1.0) / (0.1 * mscale_all * log + 1.0)
    return RopeScaling(
        kind="yarn",
        factor=factor,
        original_max_position=original,
        beta_fast=rope.number("beta_fast", 32.0, low=1e-6),
        beta_slow=rope.number("beta_slow", 1.0, low=1e-6),
        attention_factor=attention,
        truncate=rope.boolean("truncate", True),
    )

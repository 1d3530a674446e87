"""A Hugging Face Qwen3 folder as llama.cpp's file: bfloat16 by the ``gguf`` package, fewer bits by llama.cpp itself."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from numpy.typing import NDArray

FILE_TYPES = {"q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0, "q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0}
LAYER_TENSORS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def converted(folder: Path, kind: str) -> Path:
    """The file of ``folder`` in ``bf16``, ``q8_0`` or ``q4_0``, written on first use."""
    target = folder.with_name(f"{folder.name}-{kind}.gguf")
    if not target.exists():
        partial = target.with_suffix(".part")
        if kind == "bf16":
            _write_bf16(folder, partial)
        else:
            _quantize(converted(folder, "bf16"), partial, FILE_TYPES[kind])
        partial.rename(target)
    return target


def _write_bf16(folder: Path, path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    writer = GGUFWriter(path, "qwen3")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")  # token ids in, token ids out
    for name, bits in _tensors(folder / "model.safetensors"):
        if bits.ndim == 1:  # llama.cpp keeps norms in float32
            writer.add_tensor(_gguf_name(name), (bits.astype(np.uint32) << 16).view(np.float32))
        else:
            raw = bits.view(np.uint8)
            writer.add_tensor(_gguf_name(name), raw, raw_shape=raw.shape, raw_dtype=GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(path: Path) -> list[tuple[str, NDArray[np.uint16]]]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(length))
    data = np.memmap(path, np.uint8, mode="r", offset=8 + length)
    header.pop("__metadata__", None)
    return [
        (name, data[slice(*entry["data_offsets"])].view(np.uint16).reshape(entry["shape"]))
        for name, entry in header.items()
    ]


def _gguf_name(name: str) -> str:
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    layer, _, rest = name.removeprefix("model.layers.").partition(".")
    return f"blk.{layer}.{LAYER_TENSORS[rest.removesuffix('.weight')]}.weight"


def _quantize(source: Path, target: Path, file_type: int) -> None:
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = file_type
    status = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), params)
    if status != 0:
        raise RuntimeError(f"llama_model_quantize({source.name}) returned {status}")

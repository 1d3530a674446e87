"""Tiny random Hugging Face folders, one per family, written without torch and the same for the same arguments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
WORDS = (
    "he", "the", "in", "er", "an", "re", "on", "at", "en", "nd", "st", "or", "to", "it", "is", "ing", "and",
    "hello", "world", "user", "system", "assistant",
)  # fmt: skip

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

_ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
_SAFE_NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def write_folder(
    path: Path, family: str, dtype: str = "float32", seed: int = 0, *, shards: int = 1, **overrides: Any
) -> Path:
    """Write config, weights, tokenizer and generation defaults of a random model of ``family``.

    ``overrides`` replace or add keys of ``config.json``; the weights follow the shapes that result. With
    ``shards`` > 1 the weights are split and an index is written.
    """
    path.mkdir(parents=True, exist_ok=True)
    config = tiny_config(family, dtype, **overrides)
    (path / "config.json").write_text(json.dumps(config, indent=1))
    generation = {
        "do_sample": True,
        "bos_token_id": 0,
        "eos_token_id": [2, 0],
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 20,
    }
    (path / "generation_config.json").write_text(json.dumps(generation, indent=1))
    write_tokenizer(path)
    tensors = {name: encode(array, dtype) for name, array in random_weights(config, seed).items()}
    if shards == 1:
        write_safetensors(path / "model.safetensors", tensors)
    else:
        _write_shards(path, tensors, shards)
    return path


def tiny_config(family: str, dtype: str = "float32", **overrides: Any) -> dict[str, Any]:
    """``config.json`` of a two-layer model with hidden size 64 and a vocabulary of 384."""
    config: dict[str, Any] = {
        "architectures": [_ARCHITECTURES[family]],
        "model_type": family,
        "vocab_size": 384,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_act": "silu",
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": family == "qwen3",
        "bos_token_id": 0,
        "eos_token_id": 2,
        "dtype": dtype,
    }
    if family == "mistral":
        config["sliding_window"] = 24
    if family == "qwen3":
        config["head_dim"] = 32
    return config | overrides


def random_weights(config: dict[str, Any], seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Float32 tensors under their Hugging Face names, scaled so that logits spread by a few units."""
    rng = np.random.default_rng(seed)
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads", heads)
    head_dim = config.get("head_dim") or hidden // heads
    shapes = {
        "self_attn.q_proj": (heads * head_dim, hidden),
        "self_attn.k_proj": (kv_heads * head_dim, hidden),
        "self_attn.v_proj": (kv_heads * head_dim, hidden),
        "self_attn.o_proj": (hidden, heads * head_dim),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    biased = _biased_projections(config)

    def normal(*shape: int, scale: float) -> NDArray[np.float32]:
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    weights = {"model.embed_tokens.weight": normal(vocab, hidden, scale=0.4)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{prefix}{norm}.weight"] = 1 + normal(hidden, scale=0.1)
        for name, shape in shapes.items():
            weights[f"{prefix}{name}.weight"] = normal(*shape, scale=1.5 * shape[1] ** -0.5)
            if name.rpartition(".")[2] in biased:
                weights[f"{prefix}{name}.bias"] = normal(shape[0], scale=0.5)
        if config["model_type"] == "qwen3":
            for norm in ("q_norm", "k_norm"):
                weights[f"{prefix}self_attn.{norm}.weight"] = 1 + normal(head_dim, scale=0.2)
    weights["model.norm.weight"] = 1 + normal(hidden, scale=0.1)
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = normal(vocab, hidden, scale=0.4)
    return weights


def _biased_projections(config: dict[str, Any]) -> tuple[str, ...]:
    if config["model_type"] == "qwen2":
        return ("q_proj", "k_proj", "v_proj")
    return ("q_proj", "k_proj", "v_proj", "o_proj") if config.get("attention_bias") else ()


def encode(array: NDArray[np.float32], dtype: str) -> tuple[str, tuple[int, ...], bytes]:
    """Safetensors dtype name, shape and bytes of ``array`` stored as ``dtype`` (bfloat16 rounds to nearest even)."""
    if dtype == "bfloat16":
        bits = array.view(np.uint32)
        rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
        return "BF16", array.shape, rounded.tobytes()
    return _SAFE_NAMES[dtype], array.shape, array.astype(dtype).tobytes()


def write_safetensors(path: Path, tensors: dict[str, tuple[str, tuple[int, ...], bytes]]) -> None:
    """Write one safetensors file; the header is padded to eight bytes as the format asks."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, _, data in tensors.values():
            file.write(data)


def _write_shards(path: Path, tensors: dict[str, tuple[str, tuple[int, ...], bytes]], shards: int) -> None:
    weight_map: dict[str, str] = {}
    names = list(tensors)
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: tensors[name] for name in names[shard::shards]}
        write_safetensors(path / file, part)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": sum(len(data) for _, _, data in tensors.values())}, "weight_map": weight_map}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


def write_tokenizer(path: Path, chat_template: str | None = CHATML) -> None:
    """Write a byte-level BPE tokenizer: ids 0-2 are special, then 256 bytes, then the pieces of ``WORDS``."""
    tiny_tokenizer().save(str(path / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
    }
    if chat_template is not None:
        config["chat_template"] = chat_template
    (path / "tokenizer_config.json").write_text(json.dumps(config, indent=1))


def tiny_tokenizer() -> Tokenizer:
    """The tokenizer that ``write_tokenizer`` saves, with at most 384 ids."""
    vocab = {special: index for index, special in enumerate(SPECIALS)}
    for symbol in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocab[symbol] = len(vocab)
    merges: list[tuple[str, str]] = []
    for word in (form for bare in WORDS for form in (bare, "Ġ" + bare)):
        left = word[0]
        for symbol in word[1:]:
            if left + symbol not in vocab:
                merges.append((left, symbol))
                vocab[left + symbol] = len(vocab)
            left += symbol
    assert len(vocab) <= 384
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(special, special=True, normalized=False) for special in SPECIALS])
    return tokenizer

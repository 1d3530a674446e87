"""Models A and B: real layouts, random weights, the same bytes on every machine.

Speed does not depend on what the weights say, so nothing is downloaded. Both are Qwen3 folders with
a vocabulary of 8192, tied embeddings and heads of 64.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VOCAB_SIZE = 8192
CONTEXT = 2048
END_OF_TEXT = "<|endoftext|>"
CHAT_TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Sizes of a random Qwen3 model."""

    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int = 64

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes of every tensor, in the order they are drawn."""
        q_size, kv_size = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        hidden, wide = self.hidden_size, self.intermediate_size
        yield "model.embed_tokens.weight", (VOCAB_SIZE, hidden)
        for layer in range(self.num_layers):
            at = f"model.layers.{layer}."
            yield at + "self_attn.q_proj.weight", (q_size, hidden)
            yield at + "self_attn.k_proj.weight", (kv_size, hidden)
            yield at + "self_attn.v_proj.weight", (kv_size, hidden)
            yield at + "self_attn.o_proj.weight", (hidden, q_size)
            yield at + "self_attn.q_norm.weight", (self.head_dim,)
            yield at + "self_attn.k_norm.weight", (self.head_dim,)
            yield at + "mlp.gate_proj.weight", (wide, hidden)
            yield at + "mlp.up_proj.weight", (wide, hidden)
            yield at + "mlp.down_proj.weight", (hidden, wide)
            yield at + "input_layernorm.weight", (hidden,)
            yield at + "post_attention_layernorm.weight", (hidden,)
        yield "model.norm.weight", (hidden,)

    def num_parameters(self) -> int:
        """Stored values, the tied embedding once.

        >>> [round(LAYOUTS[name].num_parameters() / 1e6, 1) for name in "AB"]
        [291.6, 6.5]
        """
        return sum(int(np.prod(shape)) for _, shape in self.shapes())


LAYOUTS = {
    "A": Layout(num_layers=24, hidden_size=1024, intermediate_size=2816, num_heads=16, num_kv_heads=8),
    "B": Layout(num_layers=6, hidden_size=256, intermediate_size=704, num_heads=4, num_kv_heads=2),
}


def make(name: str, work_dir: Path) -> Path:
    """The folder of model ``name``, written on first use; the configuration comes last, as the sign of a whole folder."""
    folder = work_dir / name
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        layout = LAYOUTS[name]
        _write_weights(layout, folder / "model.safetensors")
        _write_tokenizer(folder)
        _write_json(folder / "generation_config.json", {"eos_token_id": 0, "do_sample": False})
        _write_json(folder / "config.json", _config(layout))
    return folder


def _config(layout: Layout) -> dict[str, Any]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": VOCAB_SIZE,
        "hidden_size": layout.hidden_size,
        "intermediate_size": layout.intermediate_size,
        "num_hidden_layers": layout.num_layers,
        "num_attention_heads": layout.num_heads,
        "num_key_value_heads": layout.num_kv_heads,
        "head_dim": layout.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "max_position_embeddings": CONTEXT,
        "attention_bias": False,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "dtype": "bfloat16",
        "torch_dtype": "bfloat16",
    }


def _write_weights(layout: Layout, path: Path) -> None:
    """One safetensors file: the header's length, the header, the tensors."""
    rng = np.random.default_rng(0)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in layout.shapes():
        start, end = end, end + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape in layout.shapes():
            is_norm = len(shape) == 1
            values = np.ones(shape, np.float32) if is_norm else 0.02 * rng.standard_normal(shape, dtype=np.float32)
            file.write(bfloat16_bits(values).tobytes())


def bfloat16_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper halves, rounded to nearest even.

    >>> bfloat16_bits(np.array([1.0, 1.00390625, 1.01171875], np.float32))
    array([16256, 16256, 16258], dtype=uint16)
    """
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _write_tokenizer(folder: Path) -> None:
    """A byte-level BPE whose merges are the pairs of printable characters: a tokenizer without a corpus."""
    alphabet = _byte_alphabet()
    printable = [alphabet[code] for code in range(32, 127)]
    pairs = [(a, b) for a in printable for b in printable][: VOCAB_SIZE - 1 - len(alphabet)]
    words = [END_OF_TEXT, *alphabet, *(a + b for a, b in pairs)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": 0, "content": END_OF_TEXT, **special}],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {word: index for index, word in enumerate(words)},
            "merges": [list(pair) for pair in pairs],
        },
    }
    _write_json(folder / "tokenizer.json", tokenizer)
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "pad_token": END_OF_TEXT,
            "model_max_length": CONTEXT,
            "chat_template": CHAT_TEMPLATE,
        },
    )


def _byte_alphabet() -> list[str]:
    """The printable stand-ins of the 256 bytes in byte-level BPE (Radford et al. 2019)."""
    kept = {*range(33, 127), *range(161, 173), *range(174, 256)}
    spare = iter(range(256, 512))
    return [chr(code) if code in kept else chr(next(spare)) for code in range(256)]


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1))


def prompts(num_prompts: int, length: int, seed: int) -> list[list[int]]:
    """Random token ids without the end of text, so that no prefix cache helps anybody.

    >>> [len(ids) for ids in prompts(2, 3, seed=1)]
    [3, 3]
    """
    rng = np.random.default_rng(seed)
    ids: list[list[int]] = rng.integers(1, VOCAB_SIZE, size=(num_prompts, length)).tolist()
    return ids

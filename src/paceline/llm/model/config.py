"""The shape of a decoder, whichever family its folder is of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DType = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeScaling:
    """How rotary frequencies are stretched past the length they were trained on."""

    kind: Literal["linear", "dynamic", "llama3", "yarn"]
    factor: float
    original_max_position: int
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None  # yarn; None: 0.1 ln(factor) + 1
    truncate: bool = True  # yarn: whole dimensions bound the ramp


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Everything a runner must know to build the network.

    ``sliding_window`` counts keys a query sees, itself included; ``None`` sees all.
    """

    family: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    norm_eps: float
    max_model_len: int
    rope_theta: float
    rope_scaling: RopeScaling | None = None
    qkv_bias: bool = False
    o_bias: bool = False  # on the attention's output projection
    qk_norm: bool = False  # RMS norm over each head of q and k, before rotation
    tied_embeddings: bool = False
    sliding_window: int | None = None
    dtype: DType = "bfloat16"  # of the stored weights

    @property
    def q_size(self) -> int:
        return self.num_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        return self.num_kv_heads * self.head_dim

    def kv_bytes_per_token(self, itemsize: int) -> int:
        """Keys and values of one position, over all layers."""
        return 2 * self.num_layers * self.kv_size * itemsize

"""The decoder as torch operations: one network for every family."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from paceline.llm.model.attention import Attend
from paceline.llm.model.checkpoint import DecoderWeights, LayerWeights
from paceline.llm.model.config import ModelConfig
from paceline.llm.model.linear import Linear, Placement, PlainLinear
from paceline.llm.model.rope import rope_tables


@dataclass(frozen=True, slots=True)
class _Layer:
    input_norm: torch.Tensor  # [H]
    qkv: Linear
    head_norms: torch.Tensor | None  # [Hq + Hkv, D]
    o: Linear
    post_norm: torch.Tensor  # [H]
    gate_up: Linear
    down: Linear


class Decoder:
    """Weights placed on a device, and the forward pass over rows.

    Loading copies one layer at a time and gives its file pages back, so the model is never in memory twice.
    """

    def __init__(self, weights: DecoderWeights, config: ModelConfig, placement: Placement, max_length: int) -> None:
        """``max_length``: positions run below it."""
        self._config = config
        self._embed = placement.load(weights.embed)
        layers = []
        for layer in weights.layers:
            layers.append(_place_layer(layer, config, placement))
            weights.drop_pages()
        self._layers = tuple(layers)
        self._final_norm = placement.load(weights.final_norm)
        self._head = PlainLinear(self._embed) if weights.head is None else placement.head(weights.head)
        weights.drop_pages()
        cos, sin = rope_tables(config, max_length)
        self._cos = torch.from_numpy(cos).to(placement.device, placement.dtype)
        self._sin = torch.from_numpy(sin).to(placement.device, placement.dtype)

    @property
    def num_bytes(self) -> int:
        """Bytes of all matrices; a tied head is the embedding and counts once."""
        linears = [linear for layer in self._layers for linear in (layer.qkv, layer.o, layer.gate_up, layer.down)]
        head = 0 if isinstance(self._head, PlainLinear) and self._head.weight is self._embed else self._head.num_bytes
        return self._embed.nbytes + head + sum(linear.num_bytes for linear in linears)

    def hidden(self, token_ids: torch.Tensor, positions: torch.Tensor, attend: Attend) -> torch.Tensor:
        """Hidden state of each row before the last norm; ``token_ids`` and ``positions`` [R] -> [R, H]."""
        state = self._embed.index_select(0, token_ids)
        cos = self._cos.index_select(0, positions)[:, None]  # [R, 1, D / 2]
        sin = self._sin.index_select(0, positions)[:, None]
        for index, layer in enumerate(self._layers):
            queries, keys, values = self._project(layer, state, cos, sin)
            attended = attend(index, queries, keys, values)
            state = layer.o(attended, state)
            gate, up = layer.gate_up(self._norm(state, layer.post_norm)).chunk(2, -1)
            state = layer.down(functional.silu(gate).mul_(up), state)
        return state

    def finish(self, state: torch.Tensor) -> torch.Tensor:
        """Hidden states after the last norm, as the head reads them, [L, H] -> [L, H]."""
        return self._norm(state, self._final_norm)

    def logits(self, finished: torch.Tensor) -> torch.Tensor:
        """Float32 logits of what ``finish`` gave, [L, H] -> [L, V]."""
        return self._head(finished).float()

    def _project(
        self, layer: _Layer, state: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rotated queries [R, Hq, D], rotated keys and values [R, Hkv, D]."""
        config = self._config
        qkv = layer.qkv(self._norm(state, layer.input_norm))
        heads, kv_heads = config.num_heads, config.num_kv_heads
        split = qkv.view(len(state), heads + 2 * kv_heads, config.head_dim)
        turned, values = split[:, : heads + kv_heads], split[:, heads + kv_heads :]
        if layer.head_norms is not None:
            turned = self._norm(turned, layer.head_norms)
        first, second = turned.chunk(2, -1)
        turned = torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
        return turned[:, :heads], turned[:, heads:], values

    def _norm(self, state: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """RMS norm over the last axis, computed in float32; ``torch.rms_norm`` makes twice the passes on a CPU."""
        length = torch.linalg.vector_norm(state, dim=-1, keepdim=True, dtype=torch.float32)
        scale = torch.rsqrt(length.square_().div_(state.shape[-1]).add_(self._config.norm_eps))
        return (state * scale).mul_(weight).to(state.dtype)


def _place_layer(layer: LayerWeights, config: ModelConfig, placement: Placement) -> _Layer:
    norms = None
    if layer.q_norm is not None and layer.k_norm is not None:
        q_norm, k_norm = placement.load(layer.q_norm), placement.load(layer.k_norm)
        norms = torch.cat((q_norm.expand(config.num_heads, -1), k_norm.expand(config.num_kv_heads, -1)))
    return _Layer(
        input_norm=placement.load(layer.input_norm),
        qkv=placement.linear((layer.q, layer.k, layer.v), (layer.q_bias, layer.k_bias, layer.v_bias)),
        head_norms=norms,
        o=placement.linear((layer.o,), (layer.o_bias,)),
        post_norm=placement.load(layer.post_norm),
        gate_up=placement.linear((layer.gate, layer.up)),
        down=placement.linear((layer.down,)),
    )

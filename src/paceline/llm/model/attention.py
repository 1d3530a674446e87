"""Attention of rows over the paged pool with torch's own operators, on any device.

Sequences with few rows (decoding, draft trees) are batched: their blocks are gathered and multiplied at once. A sequence
with many rows (prefill) goes through torch's fused attention alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from paceline.llm.model.config import ModelConfig
from paceline.llm.model.kv import KVPool, row_slots
from paceline.llm.rows import BLOCK_SIZE, RowBatch

MAX_BATCHED_ROWS = 16  # of one sequence; above, the fused attention is faster

# (layer, queries [R, Hq, D], keys [R, Hkv, D], values [R, Hkv, D]) -> [R, Hq * D]
Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class _Group:
    """Sequences with the same number of rows ``n``: S of them over at most T stored positions."""

    rows: torch.Tensor  # [S * n] places in the batch
    blocks: torch.Tensor  # [S * T / 16]
    mask: torch.Tensor  # added to scores, 0 or -inf: [Hkv * S, G * n, T], or [1, n, T] for a fused prefill
    num_seqs: int


class PagedAttention:
    """Stores a batch's keys and values and lets each row look at what it may see."""

    def __init__(self, config: ModelConfig, pool: KVPool, device: torch.device) -> None:
        self._config = config
        self._pool = pool
        self._device = device

    def begin(self, batch: RowBatch) -> Attend:
        """What every layer of one forward pass calls; indices and masks are made once."""
        slots = self._to_device(row_slots(batch))
        groups = [self._group(batch, members) for members in _group_sequences(batch)]

        def attend(layer: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
            self._pool.store(layer, slots, keys, values)
            outputs = [self._attend_group(layer, queries, group) for group in groups]
            if len(groups) == 1:  # rows are then in order already
                return outputs[0]
            result = torch.empty_like(queries).flatten(1)
            for group, output in zip(groups, outputs, strict=True):
                result.index_copy_(0, group.rows, output)
            return result

        return attend

    def _group(self, batch: RowBatch, members: NDArray[np.int64]) -> _Group:
        cached = batch.num_cached[members].astype(np.int64)
        starts = batch.row_starts[members].astype(np.int64)
        num_rows = int(batch.row_starts[members[0] + 1] - starts[0])
        window = self._config.sliding_window
        first = np.zeros_like(cached) if window is None else np.maximum(cached - window + 1, 0) // BLOCK_SIZE
        width = int((-(-(cached + num_rows) // BLOCK_SIZE) - first).max())
        columns = np.minimum(first[:, None] + np.arange(width), batch.block_tables.shape[1] - 1)
        rows = starts[:, None] + np.arange(num_rows)  # [S, n]
        stored = first[:, None] * BLOCK_SIZE + np.arange(width * BLOCK_SIZE)  # [S, T] storage positions
        return _Group(
            rows=self._to_device(rows.ravel()),
            blocks=self._to_device(batch.block_tables[members[:, None], columns].astype(np.int64).ravel()),
            mask=self._mask(visible(batch, rows, stored, cached, window)),
            num_seqs=len(members),
        )

    def _mask(self, seen: NDArray[np.bool_]) -> torch.Tensor:
        seqs, num_rows, length = seen.shape
        hidden = self._to_device(~seen)
        mask = torch.zeros(hidden.shape, dtype=self._pool.dtype, device=self._device).masked_fill_(
            hidden, float("-inf")
        )
        if num_rows > MAX_BATCHED_ROWS:
            return mask
        kv_heads, share = self._config.num_kv_heads, self._config.num_heads // self._config.num_kv_heads
        wide = mask[None, :, None].expand(kv_heads, seqs, share, num_rows, length)
        return wide.reshape(kv_heads * seqs, share * num_rows, length)

    def _attend_group(self, layer: int, queries: torch.Tensor, group: _Group) -> torch.Tensor:
        """Output of one group's rows [S * n, Hq * D]."""
        config = self._config
        kv_heads, share = config.num_kv_heads, config.num_heads // config.num_kv_heads
        seqs = group.num_seqs
        keys = self._gather(self._pool.keys(layer), group)  # [Hkv, S, T, D]
        values = self._gather(self._pool.values(layer), group)
        rows = queries if len(group.rows) == len(queries) else queries.index_select(0, group.rows)
        num_rows = len(rows) // seqs
        grouped = rows.view(seqs, num_rows, kv_heads, share, config.head_dim).permute(
            2, 0, 3, 1, 4
        )  # [Hkv, S, G, n, D]
        if num_rows > MAX_BATCHED_ROWS:
            output = self._fused(grouped, keys, values, group)
        else:
            output = self._batched(grouped, keys, values, group)
        return output.permute(1, 3, 0, 2, 4).reshape(len(rows), config.q_size)

    def _gather(self, stored: torch.Tensor, group: _Group) -> torch.Tensor:
        blocks = stored.view(len(stored), -1, BLOCK_SIZE * self._config.head_dim).index_select(1, group.blocks)
        return blocks.view(len(stored), group.num_seqs, -1, self._config.head_dim)

    def _batched(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, group: _Group) -> torch.Tensor:
        heads, seqs, share, num_rows, dim = queries.shape
        flat = queries.reshape(heads * seqs, share * num_rows, dim)
        turned = keys.flatten(0, 1).transpose(1, 2)  # [Hkv * S, D, T]
        weights = torch.baddbmm(group.mask, flat, turned, alpha=dim**-0.5).softmax(-1)
        return torch.bmm(weights, values.flatten(0, 1)).view(queries.shape)

    def _fused(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, group: _Group) -> torch.Tensor:
        """Key heads are the batch and the queries that share one its heads: no copies of keys are made."""
        expanded = (len(keys), queries.shape[2], -1, -1)  # [Hkv, G, T, D]
        output = functional.scaled_dot_product_attention(
            queries[:, 0], keys.expand(expanded), values.expand(expanded), attn_mask=group.mask[None]
        )
        return output[:, None]

    def _to_device(self, array: NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device, non_blocking=True)


def _group_sequences(batch: RowBatch) -> list[NDArray[np.int64]]:
    """Sequences that are computed together: as many rows, and stored lengths within a factor of two."""
    counts = np.diff(batch.row_starts)
    doublings = np.ceil(np.log2(np.maximum((batch.num_cached + counts) / BLOCK_SIZE, 1))).astype(np.int64)
    keys = counts * 64 + doublings
    keys = np.where(counts > MAX_BATCHED_ROWS, -1 - np.arange(batch.num_seqs), keys)
    return [np.flatnonzero(keys == key) for key in np.unique(keys[counts > 0])]


def visible(
    batch: RowBatch,
    rows: NDArray[np.int64],
    stored: NDArray[np.int64],
    cached: NDArray[np.int64],
    window: int | None,
) -> NDArray[np.bool_]:
    """Which stored positions each row sees.

    ``rows`` [S, n] are places in the batch, ``stored`` [S, T] storage positions, ``cached`` [S] how many precede the
    rows. Returns [S, n, T].
    """
    appended = stored - cached[:, None]  # [S, T] which appended row lies there, negative: none
    own = np.arange(rows.shape[1])
    seen = appended[:, None] <= own[:, None]  # [S, n, T] cached positions and the causal rule
    masks = batch.ancestors[rows][:, :, None]  # [S, n, 1]
    if masks.any():
        bits = (masks >> np.clip(appended, 0, 63).astype(np.uint64)[:, None]) & np.uint64(1)
        named = (appended < 0)[:, None] | ((appended < 64)[:, None] & (bits == 1))
        seen = np.where(masks == 0, seen, named)
    if window is None:
        return seen
    last = rows[:, -1:]
    key_rows = np.clip(rows[:, :1] + appended, rows[:, :1], last)
    key_positions = np.where(appended < 0, stored, batch.positions[key_rows])
    return seen & (batch.positions[rows][:, :, None] - key_positions[:, None] < window)

"""Attention of rows over the paged pool by the Triton kernel; stands in for ``model.attention.PagedAttention``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import triton
from numpy.typing import NDArray

from paceline.llm.cuda.kernels import attend_kernel, join_kernel
from paceline.llm.model.attention import Attend
from paceline.llm.model.config import ModelConfig
from paceline.llm.model.kv import KVPool, row_slots
from paceline.llm.rows import BLOCK_SIZE, RowBatch

MAX_TILE = 16  # rows of one sequence per program
KEYS_PER_STEP = 64
PROGRAMS = 264  # two for each multiprocessor of a large GPU; fewer tiles than that are split


@dataclass(frozen=True, slots=True)
class DeviceRows:
    """A batch as the kernel reads it, on the device."""

    slots: torch.Tensor  # [R] int64
    positions: torch.Tensor  # [R] int32
    ancestors: torch.Tensor  # [R] int64, the bits of the batch's masks
    row_starts: torch.Tensor  # [S + 1] int32
    num_cached: torch.Tensor  # [S] int32
    tables: torch.Tensor  # [S, W] int32
    tile_seqs: torch.Tensor  # [tiles] int32, negative: padding
    tile_rows: torch.Tensor  # [tiles] int32 first row of the tile within its sequence
    tile: int  # rows per tile
    splits: int


class TritonAttention:
    """Stores a batch's keys and values and lets each row look at what it may see."""

    def __init__(self, config: ModelConfig, pool: KVPool, device: torch.device) -> None:
        self._config = config
        self._pool = pool
        self._device = device

    def begin(self, batch: RowBatch) -> Attend:
        """What every layer of one forward pass calls."""
        return self.attend_rows(self._place(batch))

    def attend_rows(self, rows: DeviceRows) -> Attend:
        """The same for rows that lie on the device already, such as the fixed buffers of a graph."""

        def attend(layer: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
            self._pool.store(layer, rows.slots, keys, values)
            return self._launch(layer, queries, rows)

        return attend

    def num_splits(self, num_tiles: int) -> int:
        """Parts of the stored positions that keep a GPU busy when there are few tiles."""
        wanted = PROGRAMS // max(num_tiles * self._config.num_kv_heads, 1)
        return min(1 << max(wanted.bit_length() - 1, 0), 32)

    def _launch(self, layer: int, queries: torch.Tensor, rows: DeviceRows) -> torch.Tensor:
        config, stored = self._config, self._pool.keys(layer)
        num_rows, dim = len(queries), config.head_dim
        share = config.num_heads // config.num_kv_heads
        parts = torch.empty(rows.splits, num_rows, config.num_heads, dim, dtype=torch.float32, device=self._device)
        maxima = torch.empty(2, *parts.shape[:-1], dtype=torch.float32, device=self._device)
        padded = triton.next_power_of_2(dim)
        attend_kernel[(len(rows.tile_seqs), config.num_kv_heads, rows.splits)](
            queries, stored, self._pool.values(layer), parts, maxima[0], maxima[1],
            rows.tile_seqs, rows.tile_rows, rows.row_starts, rows.num_cached, rows.tables, rows.ancestors,
            rows.positions, dim**-0.5, queries.stride(0), stored.stride(0), rows.tables.shape[1], num_rows,
            HEADS=config.num_heads, SHARE=share, DIM=dim, DIM_PADDED=padded, TILE=rows.tile,
            MEMBERS=max(16, triton.next_power_of_2(rows.tile * share)), KEYS=KEYS_PER_STEP, BLOCK=BLOCK_SIZE,
            WINDOW=config.sliding_window or 0, SPLITS=rows.splits,
        )  # fmt: skip
        output = torch.empty(num_rows, config.q_size, dtype=queries.dtype, device=self._device)
        num_pairs = num_rows * config.num_heads
        join_kernel[(num_pairs,)](
            parts, maxima[0], maxima[1], output, num_pairs, DIM=dim, DIM_PADDED=padded, SPLITS=rows.splits
        )
        return output

    def _place(self, batch: RowBatch) -> DeviceRows:
        counts = np.diff(batch.row_starts)
        tile = min(MAX_TILE, 1 << int(counts.max() - 1).bit_length())
        tiles = -(-counts // tile)
        tile_seqs = np.repeat(np.arange(batch.num_seqs), tiles)
        tile_rows = (np.arange(len(tile_seqs)) - np.repeat(np.cumsum(tiles) - tiles, tiles)) * tile
        return DeviceRows(
            slots=self._tensor(row_slots(batch)),
            positions=self._tensor(batch.positions),
            ancestors=self._tensor(batch.ancestors.view(np.int64)),
            row_starts=self._tensor(batch.row_starts),
            num_cached=self._tensor(batch.num_cached),
            tables=self._tensor(batch.block_tables),
            tile_seqs=self._tensor(tile_seqs.astype(np.int32)),
            tile_rows=self._tensor(tile_rows.astype(np.int32)),
            tile=tile,
            splits=self.num_splits(len(tile_seqs)),
        )

    def _tensor(self, array: NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device, non_blocking=True)

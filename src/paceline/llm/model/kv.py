"""The paged key-value pool of the torch network."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from paceline.llm.model.config import ModelConfig
from paceline.llm.rows import BLOCK_SIZE, RowBatch


class KVPool:
    """Keys and values of every layer: [layers, 2, kv heads, slots, head_dim].

    Heads lie outside slots so that gathered blocks of one head are a matrix as they are.
    """

    def __init__(self, config: ModelConfig, num_blocks: int, dtype: torch.dtype, device: torch.device) -> None:
        num_slots = num_blocks * BLOCK_SIZE
        shape = (config.num_layers, 2, config.num_kv_heads, num_slots, config.head_dim)
        self._pool = torch.zeros(shape, dtype=dtype, device=device)
        self.num_bytes = self._pool.nbytes
        self.dtype = dtype

    def keys(self, layer: int) -> torch.Tensor:
        """Keys of ``layer`` [kv heads, slots, head_dim]."""
        return self._pool[layer, 0]

    def values(self, layer: int) -> torch.Tensor:
        """Values of ``layer`` [kv heads, slots, head_dim]."""
        return self._pool[layer, 1]

    def store(self, layer: int, slots: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write ``keys`` and ``values`` [rows, kv heads, head_dim] to ``slots`` [rows].

        What is not finite is stored as zero: a weight of zero would not silence it once another sequence owns the block.
        """
        for side, rows in enumerate((keys, values)):
            finite = torch.nan_to_num(rows.transpose(0, 1), nan=0.0, posinf=0.0, neginf=0.0)
            self._pool[layer, side].index_copy_(1, slots, finite)

    def move(self, sources: torch.Tensor, targets: torch.Tensor) -> None:
        """Copy slots, all layers; every source is read before any target is written."""
        self._pool.index_copy_(3, targets, self._pool.index_select(3, sources))


def row_slots(batch: RowBatch) -> NDArray[np.int64]:
    """Storage slot (block x 16 + offset) of each row, [rows]."""
    counts = np.diff(batch.row_starts)
    seqs = np.repeat(np.arange(batch.num_seqs), counts)
    positions = batch.num_cached[seqs] + np.arange(batch.num_rows) - batch.row_starts[seqs]
    blocks = batch.block_tables[seqs, positions // BLOCK_SIZE].astype(np.int64)
    slots: NDArray[np.int64] = blocks * BLOCK_SIZE + positions % BLOCK_SIZE
    return slots

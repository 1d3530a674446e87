"""The decode step as CUDA graphs: one launch in place of hundreds, for batches of one row per sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from paceline.llm.cuda.attention import DeviceRows, TritonAttention
from paceline.llm.model.decoder import Decoder
from paceline.llm.model.kv import row_slots
from paceline.llm.rows import BLOCK_SIZE, RowBatch

MAX_GRAPH_SEQS = 256


@dataclass(frozen=True, slots=True)
class _Captured:
    graph: torch.cuda.CUDAGraph
    token_ids: torch.Tensor  # [B] int64
    long_positions: torch.Tensor  # [B] int64, for the rotary tables
    rows: DeviceRows
    hidden: torch.Tensor  # [B, H]
    logits: torch.Tensor  # [B, V]


class DecodeGraphs:
    """Graphs for padded batch sizes, each captured when it is first needed.

    Rows beyond the batch write to a block that no sequence owns (``spare_block``) and are not attended.
    """

    def __init__(self, decoder: Decoder, attention: TritonAttention, max_length: int, spare_block: int) -> None:
        self._decoder = decoder
        self._attention = attention
        self._table_width = -(-max_length // BLOCK_SIZE)
        self._spare_slot = spare_block * BLOCK_SIZE
        self._captured: dict[int, _Captured] = {}
        self._memory: Any = None  # shared by all graphs: one runs at a time

    def serves(self, batch: RowBatch) -> bool:
        """Whether ``batch`` is a plain decode step that a graph can run."""
        one_each = batch.num_rows == batch.num_seqs == len(batch.logit_rows)
        return one_each and batch.num_seqs <= MAX_GRAPH_SEQS and not batch.ancestors.any()

    def run(self, batch: RowBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """What the head reads [S, H] and logits [S, V] of a batch that ``serves`` accepts, valid until the next run."""
        size = padded_size(batch.num_seqs)
        captured = self._captured.get(size)
        if captured is None:
            captured = self._captured[size] = self._capture(size)
        self._fill(captured, batch)
        captured.graph.replay()
        return captured.hidden[: batch.num_seqs], captured.logits[: batch.num_seqs]

    def _fill(self, captured: _Captured, batch: RowBatch) -> None:
        num_seqs, rows = batch.num_seqs, captured.rows
        width = min(batch.block_tables.shape[1], self._table_width)
        padding = len(captured.token_ids) - num_seqs
        for target, values in (
            (captured.token_ids, np.pad(batch.token_ids.astype(np.int64), (0, padding))),
            (captured.long_positions, np.pad(batch.positions.astype(np.int64), (0, padding))),
            (rows.positions, np.pad(batch.positions, (0, padding))),
            (rows.slots, np.pad(row_slots(batch), (0, padding), constant_values=self._spare_slot)),
            (rows.num_cached, np.pad(batch.num_cached, (0, padding))),
            (rows.tile_seqs, np.pad(np.arange(num_seqs, dtype=np.int32), (0, padding), constant_values=-1)),
            (rows.tables[:num_seqs, :width], np.ascontiguousarray(batch.block_tables[:, :width])),
        ):
            target.copy_(torch.from_numpy(values), non_blocking=True)

    def _capture(self, size: int) -> _Captured:
        device = torch.device("cuda")

        def zeros(*shape: int, dtype: torch.dtype = torch.int32) -> torch.Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        rows = DeviceRows(
            slots=zeros(size, dtype=torch.int64).fill_(self._spare_slot),
            positions=zeros(size),
            ancestors=zeros(size, dtype=torch.int64),
            row_starts=torch.arange(size + 1, dtype=torch.int32, device=device),
            num_cached=zeros(size),
            tables=zeros(size, self._table_width),
            tile_seqs=zeros(size).fill_(-1),
            tile_rows=zeros(size),
            tile=1,
            splits=self._attention.num_splits(size),
        )
        token_ids, positions = zeros(size, dtype=torch.int64), zeros(size, dtype=torch.int64)

        def step() -> tuple[torch.Tensor, torch.Tensor]:
            attend = self._attention.attend_rows(rows)
            hidden = self._decoder.finish(self._decoder.hidden(token_ids, positions, attend))
            return hidden, self._decoder.logits(hidden)

        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # kernels are compiled and workspaces made outside the capture
            step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory):
            hidden, logits = step()
        self._memory = graph.pool()
        return _Captured(graph, token_ids, positions, rows, hidden, logits)


def padded_size(num_seqs: int) -> int:
    """The batch size that a graph is captured for: powers of two up to 8, then multiples of 8.

    >>> [padded_size(n) for n in (1, 3, 8, 9, 100)]
    [1, 4, 8, 16, 104]
    """
    return 1 << (num_seqs - 1).bit_length() if num_seqs <= 8 else -(-num_seqs // 8) * 8

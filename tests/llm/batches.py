"""Row batches for tests of runners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from paceline.llm.rows import BLOCK_SIZE, RowBatch


@dataclass
class Appended:
    """Rows that one sequence appends: a chain, or the nodes of a tree given by ``parents`` (-1: a root)."""

    tokens: Sequence[int]
    num_cached: int
    blocks: Sequence[int]
    parents: Sequence[int] | None = None
    depths: list[int] = field(default_factory=list)
    masks: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        assert len(self.blocks) * BLOCK_SIZE >= self.num_cached + len(self.tokens)
        for row in range(len(self.tokens)):
            parent = row - 1 if self.parents is None else self.parents[row]
            self.depths.append(0 if parent < 0 else self.depths[parent] + 1)
            above = 0 if parent < 0 or self.parents is None else self.masks[parent]
            self.masks.append(0 if self.parents is None else above | 1 << row)


def row_batch(seqs: Sequence[Appended], *, logit_rows: Sequence[int] | None = None) -> RowBatch:
    """One batch of ``seqs``; the logits of every row unless told otherwise."""
    counts = [len(seq.tokens) for seq in seqs]
    width = max(len(seq.blocks) for seq in seqs)
    tables = np.zeros((len(seqs), width), np.int32)
    for table, seq in zip(tables, seqs, strict=True):
        table[: len(seq.blocks)] = seq.blocks
    return RowBatch(
        token_ids=_int32([token for seq in seqs for token in seq.tokens]),
        positions=_int32([seq.num_cached + depth for seq in seqs for depth in seq.depths]),
        row_starts=_int32(np.cumsum([0, *counts])),
        num_cached=_int32([seq.num_cached for seq in seqs]),
        block_tables=tables,
        ancestors=np.array([mask for seq in seqs for mask in seq.masks], np.uint64),
        logit_rows=_int32(range(sum(counts)) if logit_rows is None else logit_rows),
    )


def _int32(values: Sequence[int] | range | NDArray[np.int64]) -> NDArray[np.int32]:
    return np.array(values, np.int32)

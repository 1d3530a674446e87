"""The runner's unit of work: rows, any number per sequence, in one batch.

A row is one token at one position. Prefill appends many rows of a sequence, decode one, the
verification of a draft tree as many as it has nodes. Row ``i`` of a sequence writes its key and
value to storage position ``num_cached + i`` (block ``block_tables[s, p // 16]``, offset ``p % 16``)
and sees every stored position below ``num_cached`` and, among the appended rows, those its
``ancestors`` mask names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK_SIZE = 16
MAX_TREE_ROWS = 64


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Rows of several sequences, sequence after sequence.

    ``ancestors[r] == 0`` means the plain causal rule: row ``i`` sees the appended rows ``0..i``.
    Otherwise bit ``j`` says that the row sees appended row ``j`` of its own sequence (its own bit
    is set; such a sequence appends at most 64 rows).
    """

    token_ids: NDArray[np.int32]  # [R]
    positions: NDArray[np.int32]  # [R] rotary position: for a tree, depth, not storage order
    row_starts: NDArray[np.int32]  # [S + 1] rows of sequence s are row_starts[s]:row_starts[s + 1]
    num_cached: NDArray[np.int32]  # [S] positions stored before this batch
    block_tables: NDArray[np.int32]  # [S, W] padded with 0
    ancestors: NDArray[np.uint64]  # [R]
    logit_rows: NDArray[np.int32]  # [L] rows whose logits are wanted, ascending

    @property
    def num_rows(self) -> int:
        return len(self.token_ids)

    @property
    def num_seqs(self) -> int:
        return len(self.num_cached)

"""A step plan as the runner's rows."""

from __future__ import annotations

import numpy as np

from paceline.llm.plan import Chunk, StepPlan
from paceline.llm.rows import RowBatch


def assemble(plan: StepPlan) -> RowBatch:
    """Rows of every chunk, in the plan's order.

    Logits are asked for the last row of each chunk that samples, and for all rows of a chunk whose
    request wants its prompt's log-probabilities.
    """
    chunks = plan.chunks
    counts = [chunk.num_rows for chunk in chunks]
    row_starts = np.zeros(len(chunks) + 1, np.int32)
    np.cumsum(counts, out=row_starts[1:])
    num_rows = int(row_starts[-1])
    tokens: list[int] = []
    positions: list[int] = []
    for chunk in chunks:
        end = chunk.start + chunk.num_rows
        tokens.extend(chunk.sequence.tokens[chunk.start : end])
        positions.extend(range(chunk.start, end))
    return RowBatch(
        token_ids=np.array(tokens, np.int32),
        positions=np.array(positions, np.int32),
        row_starts=row_starts,
        num_cached=np.array([chunk.start for chunk in chunks], np.int32),
        block_tables=_block_tables(chunks),
        ancestors=np.zeros(num_rows, np.uint64),
        logit_rows=np.array(
            [
                row
                for chunk, end in zip(chunks, row_starts[1:].tolist(), strict=True)
                for row in _logit_rows(chunk, end)
            ],
            np.int32,
        ),
    )


def _block_tables(chunks: tuple[Chunk, ...]) -> np.ndarray:
    tables = np.zeros((len(chunks), max(len(chunk.sequence.blocks) for chunk in chunks)), np.int32)
    for table, chunk in zip(tables, chunks, strict=True):
        table[: len(chunk.sequence.blocks)] = chunk.sequence.blocks
    return tables


def wants_prompt_logits(chunk: Chunk) -> bool:
    """True if the log-probabilities of this chunk's own tokens were asked for."""
    sequence = chunk.sequence
    return (
        sequence.request.params.prompt_logprobs is not None
        and sequence.index == 0
        and chunk.start < sequence.num_prompt
        and sequence.num_emitted == 0
    )


def _logit_rows(chunk: Chunk, end: int) -> range:
    if wants_prompt_logits(chunk):
        return range(end - chunk.num_rows, end)
    return range(end - 1, end) if chunk.samples else range(0)

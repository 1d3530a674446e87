"""A step plan as the runner's rows."""

from __future__ import annotations

from itertools import accumulate

import numpy as np

from paceline.llm.draft.tree import DraftTree
from paceline.llm.plan import Chunk, StepPlan
from paceline.llm.rows import RowBatch


def assemble(plan: StepPlan) -> RowBatch:
    """Rows of every chunk, in the plan's order.

    Logits are asked for the last row of each chunk that samples and for its drafts, and for all rows of a chunk
    whose request wants its prompt's log-probabilities.
    """
    chunks = plan.chunks
    counts = [chunk.num_rows for chunk in chunks]
    row_starts = list(accumulate(counts, initial=0))
    ancestors = np.zeros(row_starts[-1], np.uint64)
    tokens: list[int] = []
    positions: list[int] = []
    for chunk in chunks:
        tree = chunk.tree
        end = chunk.start + chunk.num_rows - len(tree.tokens)
        tokens.extend(chunk.sequence.tokens[chunk.start : end])
        if tree.is_chain:
            tokens.extend(tree.tokens)
            positions.extend(range(chunk.start, chunk.start + chunk.num_rows))
        else:
            first = len(tokens) - 1
            tokens.extend(tree.tokens)
            positions.append(chunk.start)
            positions.extend([chunk.start + depth for depth in tree.depths()])
            ancestors[first : len(tokens)] = ancestor_masks(tree)
    return RowBatch(
        token_ids=np.array(tokens, np.int32),
        positions=np.array(positions, np.int32),
        row_starts=np.array(row_starts, np.int32),
        num_cached=np.array([chunk.start for chunk in chunks], np.int32),
        block_tables=_block_tables(chunks),
        ancestors=ancestors,
        logit_rows=np.array(
            [row for chunk, end in zip(chunks, row_starts[1:], strict=True) for row in _logit_rows(chunk, end)],
            np.int32,
        ),
    )


def ancestor_masks(tree: DraftTree) -> list[int]:
    """For the sequence's last token (row 0) and each node: the rows it sees, as bits.

    >>> [bin(mask) for mask in ancestor_masks(DraftTree((5, 6, 7), (-1, -1, 1), (0.5, 0.4, 0.3)))]
    ['0b1', '0b11', '0b101', '0b1101']
    """
    masks = [1]
    for row, parent in enumerate(tree.parents, 1):
        masks.append(masks[parent + 1] | 1 << row)
    return masks


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
    return range(end - chunk.num_sampling_rows, end)

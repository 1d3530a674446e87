"""A step as a value: what the scheduler decided, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from paceline.llm.draft.tree import NO_DRAFT, DraftTree
from paceline.llm.load import StepLoad
from paceline.llm.request import FinishReason
from paceline.llm.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Chunk:
    """``num_rows`` tokens of a sequence from position ``start``; ``samples`` if the next token follows.

    A decoding sequence may have drafts to verify: then its rows are its last token and the nodes of ``tree``.
    """

    sequence: Sequence
    start: int
    num_rows: int
    samples: bool
    tree: DraftTree = NO_DRAFT

    @property
    def num_sampling_rows(self) -> int:
        """Rows from which a token may be drawn."""
        return 1 + len(self.tree.tokens) if self.samples else 0


@dataclass(frozen=True, slots=True)
class StepPlan:
    chunks: tuple[Chunk, ...]
    started: int  # µs
    num_decodes: int = 0  # chunks of sequences that decode
    drafting: int = 0  # µs spent on drafts since `started`
    disturbed: bool = False  # by preemption: the time of such a step tells nothing

    @property
    def load(self) -> StepLoad:
        return load_of(self.chunks)


def load_of(chunks: Iterable[Chunk]) -> StepLoad:
    """What these chunks weigh together."""
    num_rows = num_context = num_seqs = num_prefill = num_draws = 0
    for chunk in chunks:
        num_rows += chunk.num_rows
        num_context += chunk.start
        num_seqs += 1
        num_prefill += chunk.num_rows - chunk.num_sampling_rows
        num_draws += chunk.samples and not chunk.sequence.request.params.greedy
    return StepLoad(num_rows, num_context, num_seqs, num_prefill, num_draws)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a chunk brought: the tokens drawn and, perhaps, the sequence's end.

    ``accepted`` are the nodes of the chunk's tree that the text follows, from the top down: keys and values of the
    last token and of these nodes stay, in this order.
    """

    tokens: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None
    accepted: tuple[int, ...] = ()

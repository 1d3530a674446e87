"""A step as a value: what the scheduler decided, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from paceline.llm.load import StepLoad
from paceline.llm.request import FinishReason
from paceline.llm.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Chunk:
    """``num_rows`` tokens of a sequence from position ``start``; ``samples`` if the next token follows."""

    sequence: Sequence
    start: int
    num_rows: int
    samples: bool


@dataclass(frozen=True, slots=True)
class StepPlan:
    chunks: tuple[Chunk, ...]
    started: int  # µs

    @property
    def load(self) -> StepLoad:
        return StepLoad(
            sum(chunk.num_rows for chunk in self.chunks),
            sum(chunk.start for chunk in self.chunks),
            len(self.chunks),
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a chunk brought: the tokens drawn from its last row and, perhaps, the sequence's end."""

    tokens: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None

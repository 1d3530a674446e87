"""A draft length for each range of batch sizes, as in vLLM's Dynamic SD (RFC 4565). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from paceline.llm.policies.fixed import FixedLength
from paceline.llm.speculation import PolicySetup, StepResult, StepView

RANGES = ((4, 5), (16, 3), (32, 1))  # up to so many sequences, so many tokens; above, none


@final
class LengthTable:
    def __init__(self, ranges: Sequence[tuple[int, int]] = RANGES) -> None:
        self._ranges = tuple(ranges)

    def of(self, num_sequences: int) -> int:
        """Tokens to draft at this batch size.

        >>> [LengthTable().of(batch) for batch in (1, 5, 32, 33)]
        [5, 3, 1, 0]
        """
        return next((length for most, length in self._ranges if num_sequences <= most), 0)

    def length(self, step: StepView) -> int:
        return self.of(step.load.num_seqs)

    def learn(self, step: StepView, result: StepResult) -> None:
        pass


def make(setup: PolicySetup) -> FixedLength:
    return FixedLength(setup, LengthTable())

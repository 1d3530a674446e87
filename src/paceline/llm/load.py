"""What a step weighs: work -> the feature vector of the cost model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepLoad:
    """Counts of one forward pass.

    ``num_context`` sums, over sequences, the stored positions that are read.
    """

    num_rows: int
    num_context: int
    num_seqs: int
    num_prefill: int = 0  # of the rows, those without logits
    num_draws: int = 0  # sequences whose token is drawn at random: more work than the largest logit

    @property
    def features(self) -> tuple[float, float, float]:
        """Arithmetic per row, reading the KV cache, fixed work per sequence."""
        return (float(self.num_rows), float(self.num_context), float(self.num_seqs))

    def __add__(self, other: StepLoad) -> StepLoad:
        return StepLoad(
            self.num_rows + other.num_rows,
            self.num_context + other.num_context,
            self.num_seqs + other.num_seqs,
            self.num_prefill + other.num_prefill,
            self.num_draws + other.num_draws,
        )

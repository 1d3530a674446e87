"""How many prefill rows join the next step: the most tokens per predicted second within the step's limit.

Large chunks use the hardware best; but sequences that decode wait for them. While any decodes, the
chunk is the option with the most rows per predicted second whose step stays below ``max_step_s``; and all that
waits, unless less is clearly better, for what is left takes a step more.
"""

from __future__ import annotations

from paceline.decision.goodput import Option, best
from paceline.llm.load import StepLoad
from paceline.llm.step_cost import StepCost

MIN_CHUNK = 16
_MIN_GAIN = 0.1  # in rows per second, by which a part of what waits must beat the whole: predictions err by as much


class ChunkPolicy:
    """Chooses prefill chunks by what steps cost."""

    def __init__(self, cost: StepCost, *, max_step_s: float) -> None:
        self._cost = cost
        self._max_step_s = max_step_s

    def prefill_rows(self, decodes: StepLoad, available: int) -> int:
        """Rows for prefill in a step that also carries ``decodes``; ``available``: as many as wait and have room."""
        if decodes.num_seqs == 0 or available <= MIN_CHUNK:
            return available
        options = [self._option(decodes, rows) for rows in _chunk_sizes(available)]
        if options[0].seconds == 0.0:  # nothing learned yet
            return available
        return best(options, slack_s=self._max_step_s, incumbent=available, min_gain=_MIN_GAIN).value

    def _option(self, decodes: StepLoad, rows: int) -> Option[int]:
        seconds = self._cost.predict_s(decodes + StepLoad(rows, 0, 1, rows))
        return Option(rows, useful_work=rows + decodes.num_rows, seconds=seconds)


def _chunk_sizes(available: int) -> list[int]:
    sizes = []
    size = MIN_CHUNK
    while size < available:
        sizes.append(size)
        size *= 2
    return [*sizes, available]

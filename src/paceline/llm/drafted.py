"""What was drafted and what came of it, counted for people. Pure."""

from __future__ import annotations

from collections import Counter
from typing import final

from paceline.clock import to_seconds
from paceline.llm.draft.tree import DraftTree
from paceline.llm.messages import Decision, SpeculationReport, SpeculationStats
from paceline.llm.plan import Outcome
from paceline.llm.rows import MAX_TREE_ROWS
from paceline.llm.speculation import Explanation
from paceline.llm.step_cost import StepCost


@final
class Counts:
    """Counters since the engine started."""

    def __init__(self) -> None:
        self.steps = 0  # with at least one sequence that decodes
        self.plain_steps = 0  # of them, without a draft
        self.caught_up_tokens = 0
        self.drafting = 0  # µs
        self.failures: Counter[str] = Counter()  # by proposer
        self._nodes = [0] * MAX_TREE_ROWS  # trees with 1, 2, … nodes
        self._accepted = [0] * MAX_TREE_ROWS  # first tokens, second, …

    def draft(self, tree: DraftTree, outcome: Outcome) -> None:
        """A tree was verified."""
        self._nodes[len(tree) - 1] += 1
        for place in range(len(outcome.accepted)):
            self._accepted[place] += 1

    def stats(self, policy: str, explanation: Explanation, cost: StepCost) -> SpeculationStats:
        return SpeculationStats(
            policy=policy,
            num_steps=self.steps,
            num_plain_steps=self.plain_steps,
            num_drafts=sum(self._nodes),
            num_draft_tokens=sum(size * count for size, count in enumerate(self._nodes, 1)),
            num_accepted_tokens=sum(self._accepted),
            accepted_by_depth=_trimmed(self._accepted),
            nodes_per_draft=_trimmed(self._nodes),
            num_caught_up_tokens=self.caught_up_tokens,
            draft_time_s=to_seconds(self.drafting),
            num_failures=dict(self.failures),
            predicted_time_s=cost.predicted_sum_s,
            actual_time_s=cost.actual_sum_s,
            prediction_error=cost.error.mean,
            survival={name: tuple(shares) for name, shares in explanation.survival.items()},
            numbers=dict(explanation.numbers),
        )


def report(stats: SpeculationStats, explanation: Explanation) -> SpeculationReport:
    """The counters with the policy's last decisions."""
    return SpeculationReport(
        stats=stats,
        decisions=tuple(
            Decision(
                at_s=to_seconds(each.at),
                option=each.option,
                reason=each.reason,
                predicted_s=each.predicted_s,
                actual_s=each.actual_s,
                num_sequences=each.num_sequences,
                num_nodes=each.num_nodes,
            )
            for each in explanation.decisions
        ),
    )


def _trimmed(counts: list[int]) -> tuple[int, ...]:
    """Without the zeros at the end.

    >>> _trimmed([3, 0, 1, 0, 0])
    (3, 0, 1)
    """
    length = max((place for place, count in enumerate(counts, 1) if count), default=0)
    return tuple(counts[:length])

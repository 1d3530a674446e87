"""Draft length by goodput as in the paper: Liu et al. 2024, "Optimizing speculative decoding for serving large
language models using goodput" (arXiv 2406.14066). Pure.

One acceptance rate for all tokens of all requests, and one length for the whole batch.
"""

from __future__ import annotations

from collections import deque
from typing import final

from paceline.llm.policies.calling import CallCost
from paceline.llm.policies.fixed import FixedLength
from paceline.llm.speculation import PolicySetup, StepResult, StepView
from paceline.llm.step_cost import StepCost

_FIRST_ACCEPTANCE = 0.7
_REMEMBERED = 100  # steps
_EVERY = 20  # steps between decisions
_PLAIN_WEIGHT = 1.1  # goodput of plain decoding counts so much: drafts must gain 10 %


def expected_tokens(acceptance: float, length: int) -> float:
    """Tokens of one sequence and step: 1 + a + ... + a^k.

    >>> expected_tokens(0.5, 2), expected_tokens(1.0, 3)
    (1.75, 4.0)
    """
    return sum([acceptance**place for place in range(length + 1)])


@final
class SmartSpec:
    def __init__(self, cost: StepCost, max_draft: int) -> None:
        self._cost = cost
        self._max_draft = max_draft
        self._calls: dict[str, CallCost] = {}
        self._steps: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)  # accepted and tried tokens
        self._age = _EVERY  # steps since the last decision
        self._length = 0

    @property
    def acceptance(self) -> float:
        tried = sum([tries for _, tries in self._steps])
        return sum([hits for hits, _ in self._steps]) / tried if tried else _FIRST_ACCEPTANCE

    def length(self, step: StepView) -> int:
        if self._age >= _EVERY:
            self._age = 0
            self._length = self._best(step)
        self._age += 1
        return self._length

    def _best(self, step: StepView) -> int:
        """The whole range is searched, as costs may be staircases."""
        batch = len(step.contexts)
        longest = min(self._max_draft, step.spare_rows // max(batch, 1))
        curve = self._cost.curve(step.load, batch * longest)
        acceptance = self.acceptance
        others = step.num_tokens - batch
        best, most = 0, _PLAIN_WEIGHT * step.num_tokens / curve[0] if curve[0] > 0.0 else 0.0
        for length in range(1, longest + 1):
            draft_s = max([cost.seconds(batch, length) for cost in self._calls.values()], default=0.0)
            seconds = curve[batch * length] + draft_s
            rate = (others + batch * expected_tokens(acceptance, length)) / seconds if seconds > 0.0 else 0.0
            if rate > most:
                best, most = length, rate
        return best

    def learn(self, step: StepView, result: StepResult) -> None:
        for call in result.calls:
            self._calls.setdefault(call.proposer, CallCost()).observe(call.num_members, call.depth, call.seconds)
        hits = tries = 0
        for member, tree in result.verified.items():
            accepted = result.num_emitted[member] - 1
            hits += accepted
            tries += min(accepted + 1, len(tree))
        if tries:
            self._steps.append((min(hits, tries), tries))


def make(setup: PolicySetup) -> FixedLength:
    return FixedLength(setup, SmartSpec(setup.cost, setup.max_draft))

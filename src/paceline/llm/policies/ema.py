"""Draft length by a moving average of the accepted length, as in SGLang's ``--speculative-adaptive``. Pure."""

from __future__ import annotations

from typing import final

from paceline.llm.policies.fixed import FixedLength
from paceline.llm.speculation import PolicySetup, StepResult, StepView

TIERS = ((1, (1, 3, 5, 7)), (8, (0, 1, 3)), (32, (0, 1)), (64, (0,)))  # from so many sequences on, these lengths
_WEIGHT = 0.2
_EVERY = 5  # drafted steps between decisions
_UP = 0.5  # a longer draft when no more than this share of a token is refused on average
_DOWN = 0.75  # a shorter one when it would still have so much of a token to spare
_NOTHING = 0.25  # none at all when fewer tokens are accepted
_RETRY = 64  # plain steps after which drafts are tried again: at 0 there is nothing to measure


@final
class AcceptedLength:
    """Drafts about one token more than are accepted, by the lengths of the batch's tier."""

    def __init__(self) -> None:
        self.mean = 0.0  # accepted drafts of a sequence and step
        self._known = False
        self._current = 1
        self._num_steps = 0
        self._num_plain = 0

    def length(self, step: StepView) -> int:
        tier = _tier(step.load.num_seqs)
        if self._current not in tier:
            self._current = min(tier, key=lambda length: abs(length - self._current))
        elif self._num_steps >= _EVERY:
            self._num_steps = 0
            self._current = self._next(tier)
        if not self._current and self._num_plain >= _RETRY:
            self._num_plain = 0
            self._known = False
            self._current = tier[min(1, len(tier) - 1)]
        return self._current

    def _next(self, tier: tuple[int, ...]) -> int:
        """One step up or down the tier, or none."""
        place = tier.index(self._current)
        if self.mean > self._current - _UP and self._current < tier[-1]:
            return tier[place + 1]
        if place and self.mean < max(tier[place - 1] - _DOWN, _NOTHING if tier[place - 1] == 0 else 0.0):
            return tier[place - 1]
        return self._current

    def learn(self, step: StepView, result: StepResult) -> None:
        if not self._current:
            self._num_plain += 1
        if not result.verified:
            return
        self._num_steps += 1
        accepted = sum([result.num_emitted[member] - 1 for member in result.verified]) / len(result.verified)
        self.mean = self.mean + _WEIGHT * (accepted - self.mean) if self._known else accepted
        self._known = True


def _tier(num_sequences: int) -> tuple[int, ...]:
    return [lengths for least, lengths in TIERS if num_sequences >= least][-1]


def make(setup: PolicySetup) -> FixedLength:
    return FixedLength(setup, AcceptedLength())

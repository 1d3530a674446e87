"""A policy of the tests: so many drafts of one proposer for everyone, always."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from paceline.llm.draft.proposer import Context
from paceline.llm.draft.tree import DraftTree
from paceline.llm.simulate.proposers import Foresight
from paceline.llm.simulate.virtual import Arm
from paceline.llm.speculation import Ask, Explanation, PolicySetup, Proposal, StepResult, StepView


class Drafting:
    def __init__(self, proposer: str, length: int) -> None:
        self.proposer, self.length = proposer, length

    def rests(self, num_decoding: int) -> bool:
        return False

    def order(self, step: StepView) -> Sequence[Ask]:
        return (Ask(self.proposer, tuple(range(len(step.contexts))), self.length),)

    def choose(self, step: StepView, proposals: Sequence[Proposal], draft_s: float) -> Mapping[int, DraftTree]:
        return {proposal.member: proposal.tree for proposal in proposals}

    def learn(self, step: StepView, result: StepResult) -> None:
        pass

    def begin(self, context: Context) -> None:
        pass

    def finish(self, context: Context) -> None:
        pass

    def explain(self) -> Explanation:
        return Explanation({}, {}, ())


def drafting(length: int, proposer: str = "heads") -> Arm:
    def make(setup: PolicySetup, foresight: Foresight) -> Drafting:
        return Drafting(proposer, length)

    return make

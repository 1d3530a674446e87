"""One draft length for all sequences of a step: a number, or what a rule says. What engines did before goodput. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, final

from paceline.llm.draft.proposer import Context
from paceline.llm.draft.tree import DraftTree
from paceline.llm.speculation import Ask, Explanation, PolicySetup, Proposal, StepResult, StepView


class LengthRule(Protocol):
    """Decides how many tokens are drafted."""

    def length(self, step: StepView) -> int:
        """Tokens for each sequence of the step; 0 for plain decoding."""
        ...

    def learn(self, step: StepView, result: StepResult) -> None:
        """Takes in what a step has brought, drafted or not."""
        ...


@final
class Constant:
    """The same number for ever."""

    def __init__(self, num_tokens: int) -> None:
        self._num_tokens = num_tokens

    def length(self, step: StepView) -> int:
        return self._num_tokens

    def learn(self, step: StepView, result: StepResult) -> None:
        pass


@final
class FixedLength:
    """Verifies the likeliest chain of every draft, ``length`` tokens of it or as many as there are.

    Proposers are asked in order of preference. The next one is asked, too, for sequences for which the ones before
    had nothing the last time.
    """

    def __init__(self, setup: PolicySetup, length: int | LengthRule) -> None:
        self._names = setup.proposers
        self._max_draft = setup.max_draft
        self._rule: LengthRule = Constant(length) if isinstance(length, int) else length
        self._off = length == 0 or not setup.proposers
        self._silent: dict[Context, int] = {}  # how many proposers had nothing the last time
        self._length = 0  # of this step

    def rests(self, num_decoding: int) -> bool:
        return self._off

    def order(self, step: StepView) -> Sequence[Ask]:
        self._length = min(self._rule.length(step), self._max_draft)
        if not self._length:
            return ()
        asked = [self._silent.get(context, 0) for context in step.contexts]
        asks = []
        for rank, name in enumerate(self._names):
            members = tuple([member for member, silent in enumerate(asked) if silent >= rank])
            if members:
                asks.append(Ask(name, members, self._length))
        return asks

    def choose(self, step: StepView, proposals: Sequence[Proposal], draft_s: float) -> Mapping[int, DraftTree]:
        ranks = {name: rank for rank, name in enumerate(self._names)}
        first: dict[int, Proposal] = {}
        for proposal in proposals:
            best = first.get(proposal.member)
            if best is None or ranks[proposal.proposer] < ranks[best.proposer]:
                first[proposal.member] = proposal
        spare = step.spare_rows
        trees = {}
        for member, proposal in first.items():
            tree = likeliest_chain(proposal.tree, min(self._length, step.limits[member], spare))
            if len(tree):
                trees[member] = tree
                spare -= len(tree)
        return trees

    def learn(self, step: StepView, result: StepResult) -> None:
        if self._length:
            self._note_silence(step, result.proposals)
        self._rule.learn(step, result)

    def _note_silence(self, step: StepView, proposals: Sequence[Proposal]) -> None:
        ranks = {name: rank for rank, name in enumerate(self._names)}
        spoke = [len(self._names) - 1] * len(step.contexts)
        for name, member, _ in proposals:
            spoke[member] = min(spoke[member], ranks[name])
        for context, rank in zip(step.contexts, spoke, strict=True):
            if context in self._silent:
                self._silent[context] = rank

    def begin(self, context: Context) -> None:
        self._silent[context] = 0

    def finish(self, context: Context) -> None:
        self._silent.pop(context, None)

    def explain(self) -> Explanation:
        return Explanation({"draft_length": float(self._length)}, {}, ())


def likeliest_chain(tree: DraftTree, length: int) -> DraftTree:
    """The path that follows the likeliest child at each node, at most ``length`` nodes of it.

    >>> likeliest_chain(DraftTree((5, 6, 7), (-1, -1, 1), (0.4, 0.5, 0.3)), 8).tokens
    (6, 7)
    """
    if tree.is_chain:
        return DraftTree(tree.tokens[:length], tree.parents[:length], tree.survival[:length])
    path: list[int] = []
    above = -1
    while len(path) < length:
        children = [node for node in range(above + 1, len(tree)) if tree.parents[node] == above]
        if not children:
            break
        above = max(children, key=tree.survival.__getitem__)
        path.append(above)
    return tree.keep(path)

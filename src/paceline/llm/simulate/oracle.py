"""The policy that knows how every draft would fare: what no policy can beat in a step, for measuring how near one comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, final

from paceline.decision.cost import Estimate
from paceline.llm.draft.proposer import Context
from paceline.llm.draft.tree import DraftTree
from paceline.llm.load import StepLoad
from paceline.llm.simulate.proposers import Foresight
from paceline.llm.simulate.published import ServedModel
from paceline.llm.speculation import Ask, Explanation, PolicySetup, Proposal, StepResult, StepView
from paceline.llm.step_cost import StepCost


class _Option(NamedTuple):
    """Some proposers, asked for those members for which each is the best of them; ``lengths`` by member."""

    goodput: float
    asks: Sequence[Ask]
    lengths: Mapping[int, int]


@final
class Oracle:
    """Asks the proposers, and verifies the nodes, that give the most tokens per second in this step.

    It verifies only what will be accepted, so a node costs a row and gives a token.
    """

    def __init__(self, setup: PolicySetup, foresight: Foresight) -> None:
        self._setup = setup
        self._foresight = foresight
        self._cost = StepCost(_Exact(foresight.served))
        self._lengths: Mapping[int, int] = {}
        names = setup.proposers
        self._subsets = [[n for i, n in enumerate(names) if mask >> i & 1] for mask in range(1 << len(names))]

    def rests(self, num_decoding: int) -> bool:
        return False

    def order(self, step: StepView) -> Sequence[Ask]:
        members = range(len(step.contexts))
        known = {name: [self._length(name, step, member) for member in members] for name in self._setup.proposers}
        best = max((self._option(step, subset, known) for subset in self._subsets), key=lambda option: option.goodput)
        self._lengths = best.lengths
        return best.asks

    def _length(self, name: str, step: StepView, member: int) -> int:
        """Tokens of the proposer's draft that would be accepted."""
        return min(self._foresight.num_right(name, step.contexts[member]), step.limits[member], self._setup.max_draft)

    def _option(self, step: StepView, subset: Sequence[str], known: Mapping[str, Sequence[int]]) -> _Option:
        members: dict[str, list[int]] = {name: [] for name in subset}
        lengths: dict[int, int] = {}
        for member in range(len(step.contexts)):
            name = max(subset, key=lambda name: known[name][member], default=None)
            if name is not None and known[name][member] > 0:
                members[name].append(member)
                lengths[member] = known[name][member]
        asks = [Ask(n, tuple(m), max(lengths[member] for member in m)) for n, m in members.items() if m]
        draft_s = sum([self._draft_s(ask, step.contexts) for ask in asks])
        curve = self._cost.curve(step.load, sum(lengths.values()))
        goodput, num_nodes = max(
            ((step.num_tokens + count) / (curve[count] + draft_s), count) for count in range(sum(lengths.values()) + 1)
        )
        return _Option(goodput, asks, _first(lengths, num_nodes))

    def _draft_s(self, ask: Ask, contexts: Sequence[Context]) -> float:
        num_context = sum([len(contexts[member].tokens) for member in ask.members])
        return self._foresight.served.draft_s(
            ask.proposer, StepLoad(len(ask.members), num_context, len(ask.members)), ask.depth
        )

    def choose(self, step: StepView, proposals: Sequence[Proposal], draft_s: float) -> Mapping[int, DraftTree]:
        return {
            proposal.member: proposal.tree.keep(range(self._lengths[proposal.member]))
            for proposal in proposals
            if proposal.member in self._lengths
        }

    def learn(self, step: StepView, result: StepResult) -> None:
        pass

    def begin(self, context: Context) -> None:
        pass

    def finish(self, context: Context) -> None:
        pass

    def explain(self) -> Explanation:
        return Explanation({}, {}, ())


def _first(lengths: Mapping[int, int], num_nodes: int) -> dict[int, int]:
    """The lengths of the first members, ``num_nodes`` in all."""
    kept: dict[int, int] = {}
    for member, length in lengths.items():
        kept[member] = min(length, num_nodes)
        num_nodes -= kept[member]
        if num_nodes == 0:
            break
    return {member: length for member, length in kept.items() if length}


@final
class _Exact:
    """A cost model that is never wrong."""

    def __init__(self, served: ServedModel) -> None:
        self._served = served

    def predict(self, features: Sequence[float]) -> Estimate:
        load = StepLoad(*(int(value) for value in features))
        return Estimate(self._served.step_s(load, verifies=load.num_rows > load.num_seqs), 0.0, 1)

    def observe(self, features: Sequence[float], seconds: float) -> None:
        pass

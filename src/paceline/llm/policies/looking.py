"""Asking on mere hope: cheap proposers in turn, dear ones by probes, all within a hundredth of the time together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from paceline.decision.explore import Explorer
from paceline.llm.policies.asking import Price, Wishes
from paceline.llm.policies.calling import CallCost
from paceline.llm.policies.grading import Grading
from paceline.llm.speculation import Ask, Call, StepView

_SHARE = 0.005  # of all time, once for cheap proposers and once for dear ones
_SAVED = 64.0  # steps whose share can be saved up
_MOST_IN_TURN = 8
_MOST_PROBED = 4
_REAL = 4  # probes of which one is a call with a draft: or else its cost would never be seen again
_FIRST_CALLS = ((4, 1), (4, 1), (1, 4))  # depth and members: the first is not learned from, these tell most of others
_WORTH_TRYING = 1.05  # of the goodput that is had anyway


@final
class Looks:
    """Cheap: a draft made for a look is graded, and verified if it happens to be good. Dear: depth 0, evidence alone."""

    __slots__ = ("_calls", "_credit_s", "_explorer", "_grading", "_max_draft", "_names", "_probed", "_turns", "_wishes",
                 "num_looks", "num_probes")  # fmt: skip

    def __init__(
        self, names: Sequence[str], grading: Grading, calls: Sequence[CallCost], wishes: Wishes, max_draft: int
    ) -> None:
        self._names = names
        self._grading = grading
        self._calls = calls
        self._wishes = wishes
        self._max_draft = max_draft
        self._explorer = Explorer[int](budget=_SHARE)
        self._credit_s = 0.0
        self._turns = [0] * len(names)  # by proposer, the member that is next
        self._probed: dict[int, int] = {}  # step of the latest probe
        self.num_looks = 0
        self.num_probes = 0

    @property
    def spent_s(self) -> float:
        """On probes."""
        return self._explorer.spent_s

    @property
    def can_pay(self) -> bool:
        """Whether cheap looks are within their share."""
        return self._credit_s > 0.0

    @property
    def all_known(self) -> bool:
        return all(cost.known for cost in self._calls)

    def reset(self) -> None:
        """The load is another: what did not pay may pay now."""
        self._explorer.reset()

    def earn(self, seconds: float, num_steps: int) -> None:
        """So many steps took about ``seconds`` each."""
        self._credit_s = min(self._credit_s + _SHARE * seconds * num_steps, _SHARE * seconds * _SAVED)
        self._explorer.earn(seconds, num_steps)

    def in_turn(self, proposer: int, step: StepView, taken: Sequence[int]) -> list[int]:
        """Members whose look at a cheap ``proposer`` is due, besides those ``taken``."""
        cost = self._calls[proposer]
        count = len(step.contexts)
        each_s = max(cost.seconds(2, self._max_draft) - cost.seconds(1, self._max_draft), 0.0)
        most = min(count, _MOST_IN_TURN)
        if each_s > 0.0:
            most = min(most, int((self._credit_s - cost.seconds(1, self._max_draft)) / each_s) + 1)
        if self._credit_s < cost.seconds(1, self._max_draft) or most < 1:
            return []
        first = self._turns[proposer]
        members = [(first + place) % count for place in range(most)]
        self._turns[proposer] = (first + most) % count
        return [member for member in members if member not in taken]

    def probe(self, step: StepView, at: int, price: Price, asked: Sequence[Ask]) -> Ask | None:
        """A trial of a proposer that is not asked otherwise, if it never was or if even now it might be worth it."""
        names = [ask.proposer for ask in asked]
        others = [proposer for proposer, name in enumerate(self._names) if name not in names]
        for proposer in others:
            if self._calls[proposer].num_calls < len(_FIRST_CALLS):
                return self._trial(proposer, step, at, *_FIRST_CALLS[self._calls[proposer].num_calls])
        if self._explorer.balance_s <= 0.0:
            return None
        kind = self._grading.histories[step.contexts[0]].kind
        options = [
            self._wishes.hopeful(proposer, kind, at - self._probed.get(proposer, 0), len(step.contexts))
            for proposer in others
            if not self._wishes.is_cheap(proposer)
        ]
        picked = self._explorer.pick(options, _WORTH_TRYING * price.per_s)
        if picked is None:
            return None
        if not self._calls[picked].catches_up or self.num_probes % _REAL == 0:
            return self._trial(picked, step, at, *_FIRST_CALLS[-1])
        return self._trial(picked, step, at, 0, _MOST_PROBED)

    def _trial(self, proposer: int, step: StepView, at: int, depth: int, most: int) -> Ask:
        count = len(step.contexts)
        first = self._turns[proposer]
        members = sorted({(first + place) % count for place in range(most)})
        self._turns[proposer] = (first + len(members)) % count
        self._probed[proposer] = at
        self.num_probes += 1
        return Ask(self._names[proposer], tuple(members), min(depth, self._max_draft))

    def pay(self, proposer: int, call: Call, num_hoped: int, *, probe: bool) -> None:
        """A call was made, for ``num_hoped`` of its members on hope alone."""
        if probe and self._calls[proposer].num_calls > len(_FIRST_CALLS):
            self._explorer.pay(proposer, call.seconds, gained=False)
        elif num_hoped:
            self.num_looks += num_hoped
            self._credit_s -= call.seconds * num_hoped / call.num_members

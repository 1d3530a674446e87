"""Asking on mere hope: cheap proposers in turn, dear ones by probes, all within a hundredth of the time. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

from paceline.decision.explore import Explorer
from paceline.decision.goodput import Option
from paceline.llm.policies.asking import Price, Wishes
from paceline.llm.policies.calling import CallCost
from paceline.llm.policies.grading import Grading
from paceline.llm.speculation import Ask, Call, StepView

_SHARE = 0.01  # of all time, once for cheap proposers and once for dear ones
_SAVED = 64.0  # steps whose share can be saved up
_MOST_IN_TURN = 8
_MOST_PROBED = 4
_FIRST_CALLS = ((4, 1), (1, 4))  # depth and members: what tells most of the cost of others
_WORTH_TRYING = 1.05  # of the goodput that is had anyway


@final
class Looks:
    """Cheap: a draft made for a look is graded, and verified if it happens to be good. Dear: depth 0, evidence alone."""

    __slots__ = ("_calls", "_credit_s", "_explorer", "_grading", "_max_draft", "_names", "_probed", "_turn", "_wishes",
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
        self._turn = 0
        self._probed: dict[int, int] = {}  # step of the latest probe
        self.num_looks = 0
        self.num_probes = 0

    @property
    def spent_s(self) -> float:
        """On probes."""
        return self._explorer.spent_s

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
        members = [(self._turn + place) % count for place in range(most)]
        self._turn = (self._turn + most) % count
        return [member for member in members if member not in taken]

    def probe(self, step: StepView, at: int, price: Price, asked: Sequence[Ask]) -> Ask | None:
        """A trial of a proposer that is not asked otherwise, if even one might be worth it."""
        if self._explorer.balance_s <= 0.0:
            return None
        names = [ask.proposer for ask in asked]
        options = [
            self._option(proposer, step, at)
            for proposer, name in enumerate(self._names)
            if name not in names and not self._wishes.is_cheap(proposer)
        ]
        proposer = self._explorer.pick(options, _WORTH_TRYING * price.per_s)
        if proposer is None:
            return None
        cost, count = self._calls[proposer], len(step.contexts)
        depth, most = _FIRST_CALLS[cost.num_calls] if cost.num_calls < len(_FIRST_CALLS) else (0, _MOST_PROBED)
        if not depth and not cost.catches_up:
            depth, most = _FIRST_CALLS[0]
        depth = min(depth, self._max_draft)
        members = sorted({(self._turn + place) % count for place in range(most)})
        self._turn = (self._turn + len(members)) % count
        self._probed[proposer] = at
        self.num_probes += 1
        return Ask(self._names[proposer], tuple(members), depth)

    def _option(self, proposer: int, step: StepView, at: int) -> Option[int]:
        if self._calls[proposer].num_calls < len(_FIRST_CALLS):
            return Option(proposer, 0.0, math.inf)
        kind = self._grading.histories[step.contexts[0]].kind
        age = at - self._probed.get(proposer, 0)
        return self._wishes.hopeful(proposer, kind, age, len(step.contexts))

    def pay(self, proposer: int, call: Call, num_hoped: int, *, probe: bool) -> None:
        """A call was made, for ``num_hoped`` of its members on hope alone."""
        if probe:
            self._explorer.pay(proposer, call.seconds, gained=False)
        elif num_hoped:
            self.num_looks += num_hoped
            self._credit_s -= call.seconds * num_hoped / call.num_members

"""Whom to ask, and how deep: what a proposal is worth before it is made. Pure.

With ``tokens_per_s``, the goodput that is to be had anyway, every second has a price in tokens, and the requests of a
step can be judged one by one: a proposal brings the survival of its nodes, less the price of their rows and of the
call. A plan beats another exactly if it has more tokens left after paying for all its seconds (Dinkelbach 1967).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

from paceline.decision.goodput import Option
from paceline.decision.rates import Rate
from paceline.llm.policies.acceptance import NUM_DEPTHS, UNKNOWN_FORM
from paceline.llm.policies.calling import CallCost
from paceline.llm.policies.evidence import Grades, forms_in

_CHEAP = 0.1  # of a plain step, for one request: such proposers are asked first, and on mere hope
_SAME_ROW_PRICE = 0.08
_SAME_PRICE = 0.3
_FADING = 256.0  # steps after which old evidence is doubted half
_CHEAPER = 1024.0  # after which a call may take half of what it took
_HOPE = 1.28  # standard deviations: one chance in ten to be better still


class Price(NamedTuple):
    """What time costs now, in tokens."""

    per_s: float
    per_row: float
    plain_s: float  # a plain step
    num_members: float  # requests that share a call

    def differs(self, other: Price) -> bool:
        """By enough to decide anew: what a row costs in tokens matters most, and changes least with the machine's pace."""
        row = abs(self.per_row - other.per_row) > _SAME_ROW_PRICE * other.per_row
        return row or any(abs(new - old) > _SAME_PRICE * old for new, old in zip(self, other, strict=True))


class Wish(NamedTuple):
    """A proposer worth asking for a request of a certain kind."""

    proposer: int
    depth: int
    gain: float  # tokens, all paid but the shared part of the call
    hoped: bool  # asked on hope alone


@final
class Wishes:
    """Answers by the code of a request (``History.code``), kept until prices or rates change."""

    __slots__ = ("_costs", "_grades", "_known", "_max_draft", "price")

    def __init__(self, grades: Sequence[Grades], costs: Sequence[CallCost], max_draft: int) -> None:
        self._grades = grades
        self._costs = costs
        self._max_draft = max_draft
        self._known: dict[int, tuple[Wish, ...]] = {}
        self.price = Price(0.0, 0.0, 0.0, 1.0)

    def reprice(self, price: Price) -> None:
        self.price = price
        self._known.clear()

    def of(self, code: int) -> tuple[Wish, ...]:
        wishes = self._known.get(code)
        if wishes is None:
            wishes = self._known[code] = tuple(self._find(code))
        return wishes

    def is_cheap(self, proposer: int) -> bool:
        cost = self._costs[proposer]
        return cost.known and cost.seconds(1, self._max_draft) < _CHEAP * self.price.plain_s

    def _find(self, code: int) -> list[Wish]:
        """Cheap proposers first, then the best of the dear ones, each for what it adds to those before."""
        kind, forms = forms_in(code, len(self._costs))
        missed = [1.0] * self._max_draft  # chance that nobody so far is right down to this depth
        wishes: list[Wish] = []
        left = [proposer for proposer, cost in enumerate(self._costs) if cost.known]
        cheap = sorted([p for p in left if self.is_cheap(p)], key=lambda p: self._costs[p].seconds(1, 4))
        for proposer in cheap:
            left.remove(proposer)
            self._add(wishes, proposer, kind, forms[proposer], missed)
        while left:
            nets = [self._net(p, kind, forms[p], missed) for p in left]
            proposer = left.pop(nets.index(max(nets)))
            self._add(wishes, proposer, kind, forms[proposer], missed)
        return wishes

    def _add(self, wishes: list[Wish], proposer: int, kind: int, form: int, missed: list[float]) -> None:
        curve = self._survival(proposer, kind, form)
        gain, depth = self._worth(proposer, curve, missed)
        if self.is_cheap(proposer):
            promised = self._grades[proposer].surplus[kind][form] - self._member_price(proposer)
            if promised > gain:
                gain, depth = promised, self._max_draft
        hoped = gain <= 0.0
        if hoped and (form != UNKNOWN_FORM or not self.is_cheap(proposer)):
            return
        wishes.append(Wish(proposer, self._max_draft if hoped else depth, max(gain, 0.0), hoped))
        if not hoped:
            for place in range(depth):
                missed[place] *= 1.0 - curve[place]

    def _net(self, proposer: int, kind: int, form: int, missed: list[float]) -> float:
        gain, _ = self._worth(proposer, self._survival(proposer, kind, form), missed)
        return gain - self.price.per_s * self._costs[proposer].shared_s / self.price.num_members

    def _member_price(self, proposer: int) -> float:
        """What a full draft for one more request costs, in tokens."""
        cost = self._costs[proposer]
        return self.price.per_s * (cost.per_member_s + cost.per_member_depth_s * self._max_draft)

    def _worth(self, proposer: int, curve: Sequence[float], missed: Sequence[float]) -> tuple[float, int]:
        """The most tokens that asking brings, and at what depth."""
        price, cost = self.price, self._costs[proposer]
        per_depth = price.per_s * (cost.per_member_depth_s + cost.per_depth_s / price.num_members)
        value = -price.per_s * cost.per_member_s
        most, best = value, 0
        for place, chance in enumerate(curve):
            net = chance * missed[place] - price.per_row
            value += (net if net > 0.0 else 0.0) - per_depth
            if value > most and net > 0.0:
                most, best = value, place + 1
        return (most, best) if best else (min(value, 0.0), 0)

    def _survival(self, proposer: int, kind: int, form: int) -> list[float]:
        table = self._grades[proposer].forecasts[kind]
        curve = table.survival(form)
        last = table.rates[form - table.num_keys]
        while len(curve) < self._max_draft:
            curve.append(curve[-1] * last)
        return curve[: self._max_draft]

    def hopeful(self, proposer: int, kind: int, age: float, num_members: int) -> Option[int]:
        """Asking ``proposer`` for everybody, at the best that evidence as old as ``age`` steps leaves possible."""
        price, cost = self.price, self._costs[proposer]
        row_s = price.per_row / price.per_s
        table = self._grades[proposer].forecasts[kind]
        chance, tokens, best = 1.0, float(num_members), Option(proposer, 0.0, price.plain_s)
        for depth in range(min(self._max_draft, NUM_DEPTHS)):
            cells = slice(depth * table.num_keys, (depth + 1) * table.num_keys)
            faded = 1.0 / (1.0 + age / _FADING)
            hits, tries = faded * sum(table.hits[cells]), faded * sum(table.tries[cells])
            chance *= Rate((hits + 1.0, tries - hits + 1.0)).bounds(_HOPE)[1]
            tokens += num_members * chance
            draft_s = cost.seconds(num_members, depth + 1) / (1.0 + age / _CHEAPER)
            seconds = price.plain_s + draft_s + num_members * (depth + 1) * row_s
            option = Option(proposer, tokens, seconds)
            if option.goodput > best.goodput:
                best = option
        return best

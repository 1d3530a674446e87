"""Whether drafts pay now, and whom to ask for them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from paceline.llm.policies.acceptance import UNKNOWN_FORM
from paceline.llm.policies.asking import Price, Wishes
from paceline.llm.policies.calling import CallCost
from paceline.llm.policies.grading import Grading
from paceline.llm.policies.looking import Looks
from paceline.llm.speculation import Ask, StepView

_MIN_GAIN = 0.05  # to leave plain decoding
_LEAST_GAIN = 0.01  # to stay away from it
_OWN_S = 25e-6  # what the policy itself takes for a step with drafts, and for each draft: in this proportion
_OWN_PER_DRAFT_S = 5e-6
_OWN_WEIGHT = 0.05  # of the newest step in how much slower or quicker it is here
_OWN_RANGE = (0.0, 20.0)
_DWELL = 8  # steps for which a start stands
_TURNS = (4, 32)  # steps between looks on hope while drafts pay: as many as keep looks within their share
_LOOK_SHARE = 0.005  # of all time, in the policy itself
_LOOK_S = 200e-6  # what a look takes in the policy itself, before it is known
_MOST_GLANCED = 8  # requests
_LOOK_WEIGHT = 0.1  # of the latest look in what the next will take
_DEEPENED = 32  # steps between drafts that are
_DEEPER = 2  # tokens deeper than seems right, since only they tell
_FEWEST_ROWS = 4  # over which the price of a row is taken
_MOST_KEPT = 256
_WEIGHT = 0.1  # of the newest step in what is expected of the next


@final
class Planner:
    """Prices time by the goodput at hand, sums up what asking would bring, and decides with hysteresis."""

    __slots__ = ("_calls", "_grading", "_kept", "_max_draft", "_names", "_nodes", "_own", "_since", "active", "gain", "goodput",
                 "hoped", "look_s", "looking", "looks", "probe", "reason", "turn", "wishes")  # fmt: skip

    def __init__(self, names: Sequence[str], grading: Grading, calls: Sequence[CallCost], max_draft: int) -> None:
        self._names = names
        self._grading = grading
        self._calls = calls
        self._max_draft = max_draft
        self.wishes = Wishes(grading.grades, calls, max_draft)
        self.looks = Looks(names, grading, calls, self.wishes, max_draft)
        self._kept: dict[tuple[int, ...], tuple[Sequence[Ask], float]] = {}  # asks and gain by the codes of a batch
        self.active = False  # drafts pay
        self._since = 0  # the step at which they began to
        self.goodput = 0.0  # predicted with drafts, tokens per second
        self._nodes = 0.0  # verified a step
        self.gain = 0.0  # predicted, as a share of plain goodput
        self.reason = ""
        self.hoped: dict[int, int] = {}  # members asked on mere hope in this step, by proposer
        self.probe: Ask | None = None  # of this step
        self._own = 1.0  # how much slower than said above the policy is here
        self.looking = False  # in this step
        self.look_s = _LOOK_S  # what a look takes in the policy itself
        self.turn = _TURNS[0]  # steps between looks while drafts pay

    def learn_own(self, seconds: float, num_drafts: int) -> None:
        """The policy took ``seconds`` for a step with so many drafts."""
        if self.looking:
            self.look_s += _LOOK_WEIGHT * (seconds - self.look_s)
            return
        low, high = _OWN_RANGE
        seen = min(max(seconds / (_OWN_S + _OWN_PER_DRAFT_S * num_drafts), low), high)
        self._own += _OWN_WEIGHT * (seen - self._own)

    def reset(self, *, is_new: bool) -> None:
        """The load is another; ``is_new``: it was not met lately."""
        self.goodput = self._nodes = 0.0
        if is_new:
            self.looks.reset()

    def num_extra(self, step: StepView) -> int:
        """About as many rows as drafts will add."""
        return min(max(_FEWEST_ROWS, len(step.contexts), int(self._nodes)), max(step.spare_rows, 1))

    def reprice(self, step: StepView, curve: Sequence[float], *, renewed: bool) -> None:
        """Brings prices up to date; ``renewed``: rates have changed too. ``curve[n]`` is the time with n more rows."""
        plain_s, count = curve[0], self.num_extra(step)
        row_s = max(curve[count] - plain_s, 0.0) / count if curve[count] > 0.0 else plain_s
        few, many = _TURNS
        self.turn = min(max(few, int(self.look_s / (_LOOK_SHARE * plain_s))), many)
        plain = step.decoding.num_seqs / plain_s
        per_s = max(plain, self.goodput) if self.active else plain
        price = Price(per_s, per_s * row_s, plain_s, len(step.contexts))
        if renewed or price.differs(self.wishes.price):
            self.wishes.reprice(price)
            self._kept.clear()

    def asks(self, step: StepView, at: int, extra_s: float) -> Sequence[Ask]:
        """The asks of step number ``at``. ``extra_s`` is what verifying takes beyond its rows."""
        self.hoped.clear()
        self.probe = None
        histories = self._grading.histories
        codes = tuple([histories[context].code for context in step.contexts])
        looking = self.looking = not self.active or at % self.turn == 0
        if not looking:
            kept = self._kept.get(codes)
            if kept is not None:
                asks, self.gain = kept
                return asks
        wanted = self._wanted(codes)
        self.gain = self._net(wanted, extra_s) / step.decoding.num_seqs
        self._switch(at)
        asks = self._made(wanted, step, at, looking=looking)
        if self.active and not looking and not self.hoped and len(self._kept) < _MOST_KEPT:
            self._kept[codes] = asks, self.gain
        return asks

    def glance(self, step: StepView) -> Sequence[Ask]:
        """Asks of cheap proposers for requests that they have not seen yet: next to nothing, and drafts that happen to be
        good are verified, so that a new kind of text does not wait for a look.
        """
        self.hoped.clear()
        self.probe = None
        self.looking = False
        self.gain = 0.0
        self.reason = "a glance at new requests"
        records = [self._grading.histories[context].records for context in step.contexts]
        asks = []
        for proposer, name in enumerate(self._names):
            if self.wishes.is_cheap(proposer):
                members = [member for member, each in enumerate(records) if each[proposer].form == UNKNOWN_FORM]
                if members:
                    members = members[:_MOST_GLANCED]
                    self.hoped[proposer] = len(members)
                    asks.append(Ask(name, tuple(members), self._max_draft))
        return asks

    def _wanted(self, codes: Sequence[int]) -> list[_Want]:
        """By proposer, who is worth asking it, and who on hope."""
        wanted = [_Want() for _ in self._names]
        wishes_of = self.wishes.of
        for member, code in enumerate(codes):
            for proposer, depth, gain, hoped in wishes_of(code):
                want = wanted[proposer]
                if hoped:
                    want.hoped.append(member)
                    continue
                want.members.append(member)
                want.gain += gain
                if depth > want.depth:
                    want.depth = depth
        return wanted

    def _net(self, wanted: Sequence[_Want], extra_s: float) -> float:
        """Tokens that are left when all is paid; who cannot pay for the shared part of a call is not asked."""
        per_s = self.wishes.price.per_s
        net = -per_s * (extra_s + self._own * _OWN_S)
        for want, cost in zip(wanted, self._calls, strict=True):
            left = want.gain - per_s * (cost.shared_s + self._own * _OWN_PER_DRAFT_S * len(want.members))
            if left > 0.0:
                net += left
            else:
                want.members.clear()
        return net

    def _switch(self, at: int) -> None:
        """Drafting begins for a clear gain; it ends for a clear loss, and after a while when there is next to no gain."""
        if not self.active:
            self.reason = "too little to gain"
            if self.gain > _MIN_GAIN:
                self.start(at, self.gain)
        elif self.gain >= _LEAST_GAIN:
            self.reason = "pays"
        elif self.gain < -_MIN_GAIN or at - self._since >= _DWELL:
            self.stop("nothing to gain")
        else:
            self.reason = "given time"

    def start(self, at: int, gain: float) -> None:
        """Drafts pay from here on."""
        self.active = True
        self._since = at
        self.goodput = 0.0
        self.gain = gain
        self.reason = "pays"

    def _made(self, wanted: Sequence[_Want], step: StepView, at: int, *, looking: bool) -> list[Ask]:
        asks = []
        for proposer, want in enumerate(wanted):
            members = want.members if self.active else []
            hoped = want.hoped if self.looks.can_pay else []
            if looking and self.wishes.is_cheap(proposer):
                hoped += self.looks.in_turn(proposer, step, members + hoped)
            if members or hoped:
                depth = self._max_draft if hoped else want.depth + (_DEEPER if at % _DEEPENED == 0 else 0)
                if hoped:
                    self.hoped[proposer] = len(hoped)
                asks.append(Ask(self._names[proposer], tuple(members + hoped), min(depth, self._max_draft)))
        if looking:
            self.probe = self.looks.probe(step, at, self.wishes.price, asks)
            if self.probe is not None:
                asks.append(self.probe)
        return asks

    def starts(self, at: int, gain: float) -> bool:
        """Drafts that are there are predicted to gain so much; whether they are verified."""
        if not self.active and gain > _MIN_GAIN:
            self.start(at, gain)
        return self.active

    def expect(self, goodput: float, num_nodes: int) -> None:
        """A step with drafts was predicted to give so many tokens per second."""
        if self.active:
            self.goodput += _WEIGHT * (goodput - self.goodput) if self.goodput else goodput
            self._nodes += _WEIGHT * (num_nodes - self._nodes)

    def stop(self, reason: str) -> None:
        self.active = False
        self.reason = reason


@final
class _Want:
    """Who wants to ask a proposer."""

    __slots__ = ("depth", "gain", "hoped", "members")

    def __init__(self) -> None:
        self.members: list[int] = []
        self.hoped: list[int] = []  # on hope alone
        self.depth = 0
        self.gain = 0.0  # tokens

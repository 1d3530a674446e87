"""Our policy: length, tree and proposer by goodput, per request and step. Pure.

``order`` asks those whose drafts are expected to pay (``planning``, ``asking``), ``choose`` verifies the likeliest
nodes of the whole batch as long as they pay (``scoring``, ``selection``), ``learn`` holds all drafts against the text
(``grading``) and all time against plain decoding (``ledger``). While nothing pays the policy naps (``naps``), and looks
around on a budget (``looking``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

from paceline.llm.draft.proposer import Context
from paceline.llm.draft.tree import DraftTree
from paceline.llm.policies.calling import CallCost
from paceline.llm.policies.grading import Grading
from paceline.llm.policies.journal import Entry, Journal
from paceline.llm.policies.ledger import Ledger, Trust
from paceline.llm.policies.merging import Merging
from paceline.llm.policies.naps import Naps
from paceline.llm.policies.planning import Planner
from paceline.llm.policies.scoring import scored
from paceline.llm.policies.selection import NOTHING, Selection, select
from paceline.llm.speculation import Ask, Explanation, PolicySetup, Proposal, StepResult, StepView

_REPRICED = 2  # turns between looks at prices
_MEASURED = 512  # drafted steps, then a plain one to know what it takes
_NAP_SHARE = 0.0025  # of all time that looks may take while nothing pays
_NEW_SHARE = 0.005  # and glances at new sequences
_FIRST_NODES = 2  # verified now and then while costs are unknown
_FIRST_EVERY = 16
_EXTRA_WEIGHT = 0.1  # of the newest step in what verifying takes beyond its rows
_MOST_SURPRISE = 0.5  # of a plain step that one step may teach
_EXTRA_MEMORY = 2048.0  # plain steps that take away all doubts of it
_CURVE_GRAIN = 16  # rows by which curves grow
_LEAST_OF_PRICE = 0.25  # of the price of a row: nodes that bring less pay on no step of a staircase


@final
class Goodput:
    """The policy called ``auto``."""

    def __init__(self, setup: PolicySetup) -> None:
        self._names = setup.proposers
        self._index = {name: place for place, name in enumerate(setup.proposers)}
        self._cost = setup.cost
        self._max_draft = setup.max_draft
        self._grading = Grading(setup.proposers)
        self._merging = Merging()
        self._calls = [CallCost() for _ in setup.proposers]
        self._planner = Planner(setup.proposers, self._grading, self._calls, setup.max_draft)
        self._naps = Naps()
        self._ledger = Ledger()
        self._journal = Journal()
        self._last = 0  # number of the latest step that was no rest
        self._bucket = 0
        self._repriced = 0  # the step at which it was done last
        self._drafted = 0  # steps since a plain one was measured
        self._extra_s = 0.0  # what verifying takes beyond its rows
        self._trust = Trust()
        self._curve: Sequence[float] = (0.0,)  # of this step, without its prefills
        self._prefill_s = 0.0
        self._asks: Sequence[Ask] = ()
        self._chosen = NOTHING

    # ── the port ─────────────────────────────────────────────────────────────────────────────

    def rests(self, num_decoding: int) -> bool:
        return self._naps.rests(num_decoding)

    def begin(self, context: Context) -> None:
        self._grading.begin(context)
        self._naps.wake()

    def finish(self, context: Context) -> None:
        self._grading.finish(context)

    def order(self, step: StepView) -> Sequence[Ask]:
        self._chosen = NOTHING
        self._curve = self._priced(step, self._planner.num_extra(step) // _CURVE_GRAIN * _CURVE_GRAIN + 32)
        glancing = self._naps.glancing and not self._planner.active and self._curve[0] > 0.0
        self._wake(step, glancing=glancing)
        if self._curve[0] <= 0.0:
            self._asks = self._first_tries()
        elif glancing:
            self._asks = self._planner.glance(step)
        elif self._drafted >= _MEASURED:
            self._drafted = 0
            self._planner.reason = "to measure it"
            self._asks = ()
        else:
            self._asks = self._planner.asks(step, self._naps.step, self._extra_s)
        return self._asks

    def choose(self, step: StepView, proposals: Sequence[Proposal], draft_s: float) -> Mapping[int, DraftTree]:
        per_row = self._planner.wishes.price.per_row
        drafts = scored(proposals, self._index, self._grading, self._merging, step.contexts, per_row)
        places, chances = drafts.ranked(step.spare_rows, _LEAST_OF_PRICE * per_row)
        if len(self._curve) <= len(chances):
            grown = (len(chances) // _CURVE_GRAIN + 1) * _CURVE_GRAIN
            self._curve = self._priced(step, grown)
        plain_s, tokens = self._curve[0], step.decoding.num_seqs
        if plain_s <= 0.0:
            best = Selection(min(_FIRST_NODES, len(chances)), 0.0, 0.0)
        else:
            best = select(chances, tokens, self._curve, draft_s, self._extra_s, self._trust.share)
            if best.num_nodes and not self._planner.active:
                gain = (tokens + best.gain) * (draft_s + plain_s) / (best.seconds * tokens) - 1.0
                if not self._planner.starts(self._naps.step, gain):
                    best = Selection(0, 0.0, draft_s + plain_s)
        self._chosen = best
        return drafts.trees(places[: best.num_nodes])

    def learn(self, step: StepView, result: StepResult) -> None:
        self._grading.take(step, result, self._asks)
        self._merging.learn()
        calls_s = self._note_calls(result)
        self._planner.learn_own(result.own_s, len(result.proposals))
        plain_s, chosen, planner = self._curve[0], self._chosen, self._planner
        predicted_s = self._prefill_s + (chosen.seconds or plain_s + calls_s)
        if planner.active and result.proposals and not chosen.num_nodes:
            planner.reason = "no draft is good enough"
        if plain_s > 0.0:
            if not result.disturbed:
                self._account(step, result, predicted_s)
            self._rest(calls_s, result.own_s)
        self._journal.add(
            Entry(step.now, planner.reason, planner.gain, self._asks, predicted_s, result.seconds,
                  len(step.contexts), chosen.num_nodes)
        )  # fmt: skip

    def explain(self) -> Explanation:
        planner, ledger, naps = self._planner, self._ledger, self._naps
        numbers = {
            "speculating": float(planner.active),
            "goodput_tokens_per_s": max(planner.wishes.price.per_s, planner.goodput if planner.active else 0.0),
            "predicted_gain": planner.gain,
            "row_price_tokens": planner.wishes.price.per_row,
            "verify_overhead_s": self._extra_s,
            "kept_promises": self._trust.share,
            "ledger_balance_s": ledger.balance_s,
            "ledger_time_s": ledger.time_s,
            "ledger_trips": float(ledger.num_trips),
            "cooling_steps": float(naps.cooling),
            "nap_steps": float(naps.length),
            "looks": float(planner.looks.num_looks),
            "probes": float(planner.looks.num_probes),
            "probe_s": planner.looks.spent_s,
        }
        survival = {name: grades.survival() for name, grades in zip(self._names, self._grading.grades, strict=True)}
        return Explanation(numbers, survival, self._journal.reasons())

    def _priced(self, step: StepView, num_extra: int) -> Sequence[float]:
        """Seconds of the step with 0, 1, … more rows, without what its prefills take.

        Prefills are paid for anyway and bring no token now. Counted in, they would make every step look slow, and every
        draft in it cheap, while what a draft saves is a row of a later, purely decoding step.
        """
        curve = self._cost.curve(step.load, num_extra)
        self._prefill_s = 0.0
        if step.load.num_seqs > step.decoding.num_seqs and curve[0] > 0.0:
            self._prefill_s = max(0.0, curve[0] - self._cost.predict_s(step.decoding))
            return [max(seconds - self._prefill_s, 0.0) for seconds in curve]
        return curve

    # ── before drafting ──────────────────────────────────────────────────────────────────────

    def _wake(self, step: StepView, *, glancing: bool) -> None:
        """Makes up for the steps slept through, and brings rates and prices up to date, unless for a mere glance."""
        at, plain_s = self._naps.step, self._curve[0]
        rested = at - self._last - 1
        self._last = at
        changed = self._naps.bucket != self._bucket
        if changed:
            self._bucket = self._naps.bucket
            self._planner.reset(is_new=self._naps.is_new)
        if rested:
            self._ledger.rest(rested, plain_s)
            self._extra_s *= max(0.0, 1.0 - rested / _EXTRA_MEMORY)
        self._planner.looks.earn(plain_s, rested + 1)
        self._grading.settle(at, rested=rested > 0)
        if glancing:
            return
        if rested or changed or at - self._repriced >= _REPRICED * self._planner.turn:
            self._repriced = at
            renewed = self._grading.refresh(at, self._planner.turn)
            if plain_s > 0.0:
                self._planner.reprice(step, self._curve, renewed=renewed)

    def _first_tries(self) -> Sequence[Ask]:
        """Next to nothing, until it is known what steps take."""
        self._planner.reason = "costs are unknown"
        turn, rest = divmod(self._naps.step, _FIRST_EVERY)
        if rest or not self._names:
            return ()
        return (Ask(self._names[turn % len(self._names)], (0,), min(_FIRST_NODES, self._max_draft)),)

    # ── after the step ───────────────────────────────────────────────────────────────────────

    def _note_calls(self, result: StepResult) -> float:
        """Learns what calls take; their seconds together."""
        total_s = 0.0
        planner = self._planner
        for call in result.calls:
            proposer = self._index[call.proposer]
            cost = self._calls[proposer]
            total_s += call.seconds
            if call.depth:
                cost.observe(call.num_members, call.depth, call.seconds)
            else:
                cost.catches_up = any(evidence.proposer == call.proposer for evidence in result.evidence)
            probe = planner.probe is not None and planner.probe.proposer == call.proposer
            if probe or proposer in planner.hoped:
                planner.looks.pay(proposer, call, planner.hoped.get(proposer, 0), probe=probe)
        return total_s

    def _account(self, step: StepView, result: StepResult, predicted_s: float) -> None:
        """Enters the step into the ledger; what verifying takes beyond its rows, and what to expect next."""
        chosen, tokens, plain_s = self._chosen, step.decoding.num_seqs, self._curve[0]
        if not self._asks:
            self._ledger.rest(1, plain_s)
        elif step.load.num_seqs == tokens:  # decoding alone
            emitted = sum(result.num_emitted) + tokens - len(result.num_emitted)
            if self._ledger.enter(result.seconds, emitted * plain_s / tokens):
                self._planner.stop("it has cost too much")
                self._naps.cool(self._ledger.cooldown)
        if chosen.num_nodes:
            self._trust.observe(chosen.gain, sum(result.num_emitted) - len(result.num_emitted))
            self._drafted += 1
            surprise_s = min(result.seconds - predicted_s, _MOST_SURPRISE * plain_s)
            self._extra_s = max(0.0, self._extra_s + _EXTRA_WEIGHT * surprise_s)
        self._planner.expect((tokens + chosen.gain) / (predicted_s - self._prefill_s), chosen.num_nodes)

    def _rest(self, calls_s: float, own_s: float) -> None:
        if self._planner.active:
            self._naps.stay()
        elif self._naps.glancing:
            self._naps.glanced(int((calls_s + own_s) / (_NEW_SHARE * self._curve[0])))
        elif self._naps.cooling == 0:
            look_s = calls_s + self._planner.look_s
            self._naps.sleep(int(look_s / (_NAP_SHARE * self._curve[0])) if self._planner.looks.all_known else 0)


def make(setup: PolicySetup) -> Goodput:
    return Goodput(setup)

"""Does what a speculation policy decides: asks proposers, hands drafts to the step, reports what came of them.

Whatever a proposer or a policy does wrong ends as plain decoding and a counter, never as a failed request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Seq
from typing import ParamSpec, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from paceline.clock import Clock, to_seconds
from paceline.llm.draft.proposer import Context, Coupling, Proposer
from paceline.llm.draft.tree import NO_DRAFT, DraftTree, defect
from paceline.llm.drafted import Counts, report
from paceline.llm.messages import SpeculationReport, SpeculationStats
from paceline.llm.plan import Outcome, StepPlan, load_of
from paceline.llm.scheduler import Scheduler
from paceline.llm.sequence import Sequence
from paceline.llm.speculation import Ask, Call, Evidence, Policy, Proposal, StepResult, StepView

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)


@final
class Speculator:
    """Proposers and a policy over one scheduler."""

    def __init__(
        self,
        name: str,
        policy: Policy,
        proposers: Mapping[str, Proposer],
        scheduler: Scheduler,
        clock: Clock,
        *,
        vocab_size: int,
        max_draft: int,
    ) -> None:
        self._readers = {name for name, proposer in proposers.items() if getattr(proposer, "wants_hidden", False)}
        self._hidden: tuple[StepPlan, Seq[int], NDArray[np.float32]] | None = None  # of the last step, its rows
        self._name = name
        self._policy = policy
        self._proposers = proposers
        self._scheduler = scheduler
        self._clock = clock
        self._vocab_size = vocab_size
        self._max_draft = max_draft
        self._contexts: dict[Sequence, Context] = {}
        self._step: _Step | None = None  # drafted and not yet learned from
        self._counts = Counts()
        self._deciding = 0  # µs that the policy took since the last result
        self._learning = 0  # of them, after the last step that it learned from

    # ── sequences ────────────────────────────────────────────────────────────────────────────

    def begin(self, sequence: Sequence, coupling: Coupling | None = None) -> None:
        """A sequence has its first token; unless its request does not want drafts, it may get some from now on."""
        params = sequence.request.params
        if not params.speculation or not self._proposers:
            return
        context = Context(
            sequence.tokens, sequence.num_prompt, params.temperature, sequence.request.cache_salt, coupling
        )
        self._contexts[sequence] = context
        self._guarded("begin", self._policy.begin, context)

    def finish(self, sequence: Sequence) -> None:
        """A sequence has ended, wherever it was."""
        context = self._contexts.pop(sequence, None)
        if context is None:
            return
        self._guarded("finish", self._policy.finish, context)
        for name, proposer in self._proposers.items():
            self._guarded(name, proposer.finish, context)

    @property
    def wants_hidden(self) -> bool:
        """Whether a proposer reads the target's states."""
        return bool(self._readers)

    def note_hidden(self, plan: StepPlan, rows: Seq[int], hidden: NDArray[np.float32]) -> None:  # [L, H]
        """The target's states that gave the last tokens of a plan's sampling chunks, at ``rows``."""
        self._hidden = plan, rows, hidden

    # ── decide ───────────────────────────────────────────────────────────────────────────────

    def draft(self, plan: StepPlan, now: int) -> StepPlan:
        """The plan with the drafts that are worth verifying."""
        self._step = None
        if plan.num_decodes == 0:
            return plan
        self._counts.steps += 1
        if self._policy.rests(plan.num_decodes):
            return plan
        sequences = [chunk.sequence for chunk in plan.chunks if chunk.sequence in self._contexts]
        sequences = [sequence for sequence in sequences if sequence.decoding and self._limit(sequence) > 0]
        if not sequences:
            return plan
        step = self._step = _Step(self._view(plan, sequences, now), sequences)
        asks = self._decide(self._policy.order, step.view)
        if not asks:
            return plan
        began = self._clock.now()
        for ask in asks:
            self._ask(ask, step)
        drafting = self._clock.now() - began
        self._counts.drafting += drafting
        if step.proposals:
            draft_s = to_seconds(drafting)
            step.verified = self._decide(self._choose, step.view, step.proposals, draft_s) or {}
        trees = {sequences[member]: tree for member, tree in step.verified.items()}
        return self._scheduler.extend(plan, trees, drafting)

    def _choose(self, view: StepView, proposals: list[Proposal], draft_s: float) -> Mapping[int, DraftTree]:
        trees = self._policy.choose(view, proposals, draft_s)
        num_nodes = sum([len(tree) for tree in trees.values()])
        if num_nodes > view.spare_rows:
            raise ValueError(f"{num_nodes} nodes were chosen for {view.spare_rows} spare rows")
        return trees

    def _limit(self, sequence: Sequence) -> int:
        return min(self._max_draft, self._scheduler.draft_limit(sequence))

    def _view(self, plan: StepPlan, sequences: list[Sequence], now: int) -> StepView:
        load = decoding = plan.load
        if plan.num_decodes < len(plan.chunks):
            decoding = load_of(chunk for chunk in plan.chunks if chunk.sequence.decoding)
        return StepView(
            contexts=[self._contexts[sequence] for sequence in sequences],
            limits=[self._limit(sequence) for sequence in sequences],
            load=load,
            decoding=decoding,
            num_tokens=sum([chunk.samples for chunk in plan.chunks]),
            spare_rows=self._scheduler.limits.max_batched_tokens - load.num_rows,
            now=now,
        )

    def _ask(self, ask: Ask, step: _Step) -> None:
        proposer = self._proposers[ask.proposer]
        contexts = [step.view.contexts[member] for member in ask.members]
        began = self._clock.now()
        if ask.proposer in self._readers:
            self._hand_over([step.sequences[member] for member in ask.members])
        if ask.depth == 0:
            grades = self._guarded(ask.proposer, self._catch_up, proposer, contexts) or ()
            step.evidence += [
                Evidence(ask.proposer, member, hits, tries)
                for member, (hits, tries) in zip(ask.members, grades, strict=False)
                if tries
            ]
        else:
            trees = self._propose(ask.proposer, proposer, contexts, ask.depth)
            for member, tree in zip(ask.members, trees, strict=False):
                self._keep(ask, member, tree, step)
        seconds = to_seconds(self._clock.now() - began)
        step.calls.append(Call(ask.proposer, len(contexts), ask.depth, seconds))

    def _hand_over(self, sequences: list[Sequence]) -> None:
        """Gives contexts their states; only now, since most steps ask nobody who reads them."""
        rows: dict[Sequence, NDArray[np.float32]] = {}
        if self._hidden is not None:
            plan, places, hidden = self._hidden
            sampling = [chunk.sequence for chunk in plan.chunks if chunk.samples]
            rows = {sequence: hidden[place] for sequence, place in zip(sampling, places, strict=True)}
        for sequence in sequences:
            self._contexts[sequence].hidden = rows.get(sequence)

    def _catch_up(self, proposer: Proposer, contexts: list[Context]) -> Seq[tuple[int, int]]:
        self._counts.caught_up_tokens += sum([proposer.num_missed(context) for context in contexts])
        return proposer.catch_up(contexts)

    def _propose(self, name: str, proposer: Proposer, contexts: list[Context], depth: int) -> Seq[DraftTree]:
        """Trees for all contexts; if asking for all at once fails, each is asked alone."""
        trees = self._guarded(name, proposer.propose, contexts, depth)
        if isinstance(trees, (list, tuple)) and len(trees) == len(contexts):
            return trees
        if trees is not None:
            self._fail(name, f"{len(contexts)} trees were expected, got {trees!r:.100}")
        if len(contexts) == 1:
            return (NO_DRAFT,)
        return [self._propose(name, proposer, [context], depth)[0] for context in contexts]

    def _keep(self, ask: Ask, member: int, tree: DraftTree, step: _Step) -> None:
        if tree is NO_DRAFT:
            return
        fault = defect(tree, self._vocab_size, min(ask.depth, self._max_draft))
        if fault is not None:
            self._fail(ask.proposer, fault)
            return
        limit = step.view.limits[member]
        if limit < ask.depth:
            tree = tree.keep([node for node, depth in enumerate(tree.depths()) if depth <= limit])
        if len(tree):
            step.proposals.append(Proposal(ask.proposer, member, tree))

    # ── learn ────────────────────────────────────────────────────────────────────────────────

    def learn(self, plan: StepPlan, outcomes: Seq[Outcome], now: int) -> None:
        """Takes in a step that ``draft`` has seen, after the scheduler has committed it."""
        step = self._step
        if step is None or not step.verified:
            self._counts.plain_steps += plan.num_decodes > 0
        if step is None:
            return
        emitted = {}
        for chunk, outcome in zip(plan.chunks, outcomes, strict=True):
            if chunk.samples:
                emitted[chunk.sequence] = len(outcome.tokens)
                if chunk.tree.tokens:
                    self._counts.draft(chunk.tree, outcome)
        result = StepResult(
            seconds=to_seconds(now - plan.started + self._learning),
            calls=step.calls,
            proposals=step.proposals,
            evidence=step.evidence,
            verified=step.verified,
            num_emitted=[emitted[sequence] for sequence in step.sequences],
            own_s=to_seconds(self._deciding),
            disturbed=plan.disturbed,
        )
        self._step = None
        self._deciding = 0
        self._decide(self._policy.learn, step.view, result)
        self._learning = self._deciding

    def _decide(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """A call of the policy, and the time it took."""
        began = self._clock.now()
        answer = self._guarded("policy", call, *args, **kwargs)
        self._deciding += self._clock.now() - began
        return answer

    def _guarded(self, name: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """The call's answer; None, and a count for ``name``, if it raises."""
        try:
            return call(*args, **kwargs)
        except Exception as error:
            self._fail(name, f"{type(error).__name__}: {error}", exception=True)
            return None

    def _fail(self, name: str, fault: str, *, exception: bool = False) -> None:
        if not self._counts.failures[name]:
            _log.warning("speculation: %s: %s; such drafts are left out", name, fault, exc_info=exception)
        self._counts.failures[name] += 1

    # ── what people see ──────────────────────────────────────────────────────────────────────

    def stats(self) -> SpeculationStats | None:
        """Counters; None if speculation is off."""
        if not self._proposers:
            return None
        return self._counts.stats(self._name, self._policy.explain(), self._scheduler.cost)

    def report(self) -> SpeculationReport | None:
        """Counters and the last decisions; None if speculation is off."""
        stats = self.stats()
        return None if stats is None else report(stats, self._policy.explain())

    def close(self) -> None:
        for proposer in self._proposers.values():
            proposer.close()


class _Step:
    """What has happened between ``draft`` and ``learn``."""

    __slots__ = ("calls", "evidence", "proposals", "sequences", "verified", "view")

    def __init__(self, view: StepView, sequences: list[Sequence]) -> None:
        self.view = view
        self.sequences = sequences
        self.calls: list[Call] = []
        self.proposals: list[Proposal] = []
        self.evidence: list[Evidence] = []
        self.verified: Mapping[int, DraftTree] = {}

"""Speculation as a decision: the values, the port of every policy, and "off". Pure.

A step asks twice. ``order``, before drafting: which proposers are asked for which sequences, and
how deep. ``choose``, after drafting, when its cost is sunk: which nodes the target verifies.
Accepted is what equals the text the target gives anyway, so no answer can depend on a policy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, final

from paceline.llm.draft.proposer import Context
from paceline.llm.draft.tree import DraftTree
from paceline.llm.load import StepLoad
from paceline.llm.step_cost import StepCost
from paceline.registry import Registry


@dataclass(frozen=True, slots=True)
class StepView:
    """A step before drafting.

    ``limits[i]`` is how many tokens deep a draft of ``contexts[i]`` may be. ``load`` is the whole step without drafts,
    ``decoding`` the part of it that decodes; ``num_tokens`` what the step yields: one for each sequence that decodes or
    whose prefill ends. ``spare_rows``: how many rows may be added.
    """

    contexts: Sequence[Context]
    limits: Sequence[int]
    load: StepLoad
    decoding: StepLoad
    num_tokens: int
    spare_rows: int
    now: int  # µs


class Ask(NamedTuple):
    """A call of one proposer for some of the step's sequences; depth 0 lets it catch up, for evidence alone."""

    proposer: str
    members: tuple[int, ...]  # indices of contexts
    depth: int


class Proposal(NamedTuple):
    proposer: str
    member: int
    tree: DraftTree


class Call(NamedTuple):
    """What one ask took."""

    proposer: str
    num_members: int
    depth: int
    seconds: float


class Evidence(NamedTuple):
    """Agreement of a proposer with emitted text, found while catching up."""

    proposer: str
    member: int
    hits: int
    tries: int


@dataclass(frozen=True, slots=True)
class StepResult:
    """A step that ran. The emitted tokens stand at the ends of ``contexts[i].tokens``, ``num_emitted[i]`` of them.

    ``seconds`` is the whole step, with drafting and with what learning took after the one before. ``disturbed`` steps
    tell nothing about time.
    """

    seconds: float
    calls: Sequence[Call]
    proposals: Sequence[Proposal]
    evidence: Sequence[Evidence]
    verified: Mapping[int, DraftTree]  # by member
    num_emitted: Sequence[int]
    own_s: float = 0.0  # in the policy itself, since the last result
    disturbed: bool = False


class Policy(Protocol):
    """Decides what is drafted and verified. Equal histories decide alike; nothing is random."""

    def rests(self, num_decoding: int) -> bool:
        """True if this step is plain and neither asks nor learns: asked first, every step, so it must cost nothing."""
        ...

    def order(self, step: StepView) -> Sequence[Ask]:
        """The asks of a step; none for plain decoding."""
        ...

    def choose(self, step: StepView, proposals: Sequence[Proposal], draft_s: float) -> Mapping[int, DraftTree]:
        """What to verify, by member. Trees are parts of what was proposed, at most ``step.spare_rows`` nodes in all."""
        ...

    def learn(self, step: StepView, result: StepResult) -> None:
        """Takes in what a step that did not rest has brought."""
        ...

    def begin(self, context: Context) -> None:
        """A sequence starts to decode."""
        ...

    def finish(self, context: Context) -> None:
        """It has ended; called once for each that began."""
        ...

    def explain(self) -> Explanation:
        """Why it does what it does now."""
        ...


@dataclass(frozen=True, slots=True)
class Reasons:
    """One decision as people read it."""

    at: int  # µs
    option: str  # such as "plain" or "lookup 4 + heads 2: 17 nodes"
    reason: str
    predicted_s: float
    actual_s: float
    num_sequences: int
    num_nodes: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """Numbers of a policy by name, for metrics and the debug page; the last decisions, oldest first."""

    numbers: Mapping[str, float]
    survival: Mapping[str, Sequence[float]]  # by proposer: share of first, second, … tokens accepted
    decisions: Sequence[Reasons]


@final
class NoSpeculation:
    """Plain decoding."""

    def rests(self, num_decoding: int) -> bool:
        return True

    def order(self, step: StepView) -> Sequence[Ask]:
        return ()

    def choose(self, step: StepView, proposals: Sequence[Proposal], draft_s: float) -> Mapping[int, DraftTree]:
        return {}

    def learn(self, step: StepView, result: StepResult) -> None:
        pass

    def begin(self, context: Context) -> None:
        pass

    def finish(self, context: Context) -> None:
        pass

    def explain(self) -> Explanation:
        return Explanation({}, {}, ())


@dataclass(frozen=True, slots=True)
class PolicySetup:
    """What a policy is made for: the proposers at hand (in order of preference) and the cost of steps."""

    proposers: tuple[str, ...]
    cost: StepCost
    max_draft: int


MakePolicy = Callable[[PolicySetup], Policy]

POLICIES: Registry[MakePolicy] = Registry("speculation policy")
"""Policies by name; a number K as a name means K drafts a step (``policies.make_policy``)."""

POLICIES.register_lazy("off", "paceline.llm.speculation:make_off")
POLICIES.register_lazy("auto", "paceline.llm.policies.goodput:make")
POLICIES.register_lazy("table", "paceline.llm.policies.table:make")
POLICIES.register_lazy("ema", "paceline.llm.policies.ema:make")
POLICIES.register_lazy("smartspec", "paceline.llm.policies.smartspec:make")


def make_off(setup: PolicySetup) -> NoSpeculation:
    return NoSpeculation()

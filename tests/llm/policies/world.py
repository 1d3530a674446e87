"""A toy world in virtual time: proposers of known acceptance, steps of known cost, and a policy that lives in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from paceline.decision.cost import Estimate
from paceline.llm.draft.proposer import Context
from paceline.llm.draft.tree import DraftTree
from paceline.llm.load import StepLoad
from paceline.llm.speculation import Ask, Call, Evidence, Policy, PolicySetup, Proposal, StepResult, StepView
from paceline.llm.step_cost import StepCost

RIGHT, WRONG = 1, 2  # the text is all of the first
NUM_PROMPT = 8
SPARE_ROWS = 512


@dataclass(frozen=True)
class Plane:
    """A cost model that knows; only rows beyond ``knee`` cost anything."""

    fixed_s: float
    per_row_s: float = 0.0
    knee: int = 0

    def seconds(self, rows: int) -> float:
        return self.fixed_s + self.per_row_s * max(0, rows - self.knee)

    def predict(self, features: Sequence[float]) -> Estimate:
        return Estimate(self.seconds(int(features[0])), 0.0, 1)

    def observe(self, features: Sequence[float], seconds: float) -> None:
        pass


def uniform(*key: int) -> float:
    """A number in [0, 1) for each key, the same everywhere."""
    number = 0
    for part in key:
        number = (number ^ (part + 1)) * 0x9E3779B97F4A7C15 % 2**64
        number = (number ^ number >> 29) * 0xBF58476D1CE4E5B9 % 2**64
    return ((number ^ number >> 32) * 0x94D049BB133111EB % 2**64) / 2**64


@dataclass
class Toy:
    """A proposer whose token at a position is right with chance ``acceptance(request, position)``."""

    acceptance: Callable[[int, int], float]
    claims: Callable[[int], float] | None = None  # survival by depth as it says itself; None: the truth
    silent: Callable[[int, int], bool] = lambda request, position: False  # has no idea there
    shared_s: float = 0.0
    per_depth_s: float = 0.0
    per_member_s: float = 0.0
    catches_up: bool = False
    seed: int = 0

    def seconds(self, members: int, depth: int) -> float:
        return self.shared_s + self.per_depth_s * depth + self.per_member_s * members

    def right(self, request: int, position: int) -> bool:
        return uniform(self.seed, request, position) < self.acceptance(request, position)

    def tree(self, request: int, position: int, depth: int) -> DraftTree:
        if self.silent(request, position):
            return DraftTree.chain([], [])
        tokens, shares, share, alive = [], [], 1.0, True
        for place in range(depth):
            alive = alive and self.right(request, position + place)
            share *= self.acceptance(request, position + place)
            tokens.append(RIGHT if alive else WRONG + self.seed)
            shares.append(self.claims(place + 1) if self.claims else share)
        return DraftTree.chain(tokens, shares)


class World:
    """Requests that decode for ever, ``batch`` at once."""

    def __init__(
        self,
        make: Callable[[PolicySetup], Policy],
        toys: Mapping[str, Toy],
        plane: Plane,
        *,
        batch: int = 1,
        max_draft: int = 8,
        verify_s: float = 0.0,
        limit: int | None = None,
    ) -> None:
        self.toys, self.plane, self.max_draft = toys, plane, max_draft
        self.verify_s = verify_s  # what a step with drafts takes beyond its rows
        self.limit = max_draft if limit is None else limit
        self.policy = make(PolicySetup(tuple(toys), StepCost(plane), max_draft))
        self.contexts: list[Context] = []
        self.ids: dict[Context, int] = {}
        self.caught_up: dict[tuple[str, int], int] = {}
        self.now_s = 0.0
        self.num_tokens = self.num_steps = self.num_rests = 0
        self.nodes: list[int] = []  # by step
        self.asks: list[Sequence[Ask]] = []  # by step that did not rest
        self.trees: Mapping[int, DraftTree] = {}  # of the last step
        self.resize(batch)

    def resize(self, batch: int) -> None:
        while len(self.contexts) > batch:
            self.policy.finish(self.contexts.pop())
        while len(self.contexts) < batch:
            self.contexts.append(self._begun())

    def renew(self, place: int) -> None:
        """A request ends and another takes its place."""
        self.policy.finish(self.contexts[place])
        self.contexts[place] = self._begun()

    def _begun(self) -> Context:
        context = Context([RIGHT] * (NUM_PROMPT + 1), NUM_PROMPT)
        self.ids[context] = len(self.ids)
        self.policy.begin(context)
        return context

    @property
    def plain(self) -> float:
        """Tokens per second without drafts."""
        return len(self.contexts) / self.plane.seconds(len(self.contexts))

    def run(self, num_steps: int) -> float:
        """Tokens per second over so many steps, as a ratio to plain decoding."""
        began_s, began_tokens = self.now_s, self.num_tokens
        for _ in range(num_steps):
            self.step()
        return (self.num_tokens - began_tokens) / (self.now_s - began_s) / self.plain

    def view(self) -> StepView:
        batch = len(self.contexts)
        load = StepLoad(batch, sum([len(context.tokens) for context in self.contexts]), batch)
        return StepView(self.contexts, [self.limit] * batch, load, load, batch, SPARE_ROWS, round(self.now_s * 1e6))

    def step(self) -> None:
        self.num_steps += 1
        batch = len(self.contexts)
        if self.policy.rests(batch):
            self.num_rests += 1
            self._emit({}, self.plane.seconds(batch))
            return
        view = self.view()
        asks = self.policy.order(view)
        self.asks.append(asks)
        proposals, calls, evidence = self._answer(asks)
        draft_s = sum([call.seconds for call in calls])
        trees = self.policy.choose(view, proposals, draft_s) if proposals else {}
        num_nodes = sum([len(tree) for tree in trees.values()])
        seconds = draft_s + self.plane.seconds(batch + num_nodes) + (self.verify_s if num_nodes else 0.0)
        emitted = self._emit(trees, seconds)
        self.policy.learn(view, StepResult(seconds, calls, proposals, evidence, trees, emitted))

    def _answer(self, asks: Sequence[Ask]) -> tuple[list[Proposal], list[Call], list[Evidence]]:
        proposals, calls, evidence = [], [], []
        for name, members, depth in asks:
            toy = self.toys[name]
            calls.append(Call(name, len(members), depth, toy.seconds(len(members), depth)))
            for member in members:
                request, position = self.ids[self.contexts[member]], len(self.contexts[member].tokens)
                if depth:
                    tree = toy.tree(request, position, min(depth, self.limit))
                    if len(tree):
                        proposals.append(Proposal(name, member, tree))
                elif toy.catches_up:
                    start = max(self.caught_up.get((name, request), 0), position - 64)
                    hits = sum([toy.right(request, place) for place in range(start, position)])
                    if position > start:
                        evidence.append(Evidence(name, member, hits, position - start))
                self.caught_up[name, request] = position
        return proposals, calls, evidence

    def _emit(self, trees: Mapping[int, DraftTree], seconds: float) -> list[int]:
        emitted = []
        for member, context in enumerate(self.contexts):
            tree = trees.get(member)
            count = 1 + (len(tree.path([RIGHT] * 64)) if tree is not None else 0)
            context.tokens.extend([RIGHT] * count)
            emitted.append(count)
        self.trees = trees
        self.nodes.append(sum([len(tree) for tree in trees.values()]))
        self.now_s += seconds
        self.num_tokens += sum(emitted)
        return emitted


def best_uniform(acceptance: float, toy: Toy, plane: Plane, batch: int, max_draft: int = 8) -> float:
    """Goodput of the best number of drafts for all, as a ratio to plain decoding: acceptance alike everywhere."""
    rates = []
    for length in range(max_draft + 1):
        tokens = batch * sum([acceptance**place for place in range(length + 1)])
        draft_s = toy.seconds(batch, length) if length else 0.0
        rates.append(tokens / (draft_s + plane.seconds(batch * (length + 1))))
    return max(rates) / rates[0]

"""A toy world in virtual time: proposers of known acceptance, steps of known cost, and a policy that lives in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from paceline.decision.cost import Estimate
from paceline.llm.draft.proposer import Context
from paceline.llm.draft.tree import DraftTree
from paceline.llm.load import StepLoad
from paceline.llm.speculation import Call, Evidence, Policy, PolicySetup, Proposal, StepResult, StepView
from paceline.llm.step_cost import StepCost

RIGHT, WRONG = 1, 0  # the text is all ones; a draft token is one of these


@dataclass(frozen=True)
class Plane:
    """A cost model that knows; rows beyond ``knee`` cost ``per_row_s``."""

    fixed_s: float
    per_row_s: float = 0.0
    knee: int = 0

    def seconds(self, rows: int) -> float:
        return self.fixed_s + self.per_row_s * max(0, rows - self.knee)

    def predict(self, features: Sequence[float]) -> Estimate:
        return Estimate(self.seconds(int(features[0])), 0.0, 1)

    def observe(self, features: Sequence[float], seconds: float) -> None:
        pass


def uniform(*key: object) -> float:
    """A number in [0, 1) for each key, the same everywhere."""
    number = 0
    for part in key:
        for byte in str(part).encode():
            number = (number * 1_000_003 + byte + 1) % 0xFFFFFFFFFFFFFFC5
        number = (number ^ number >> 29) * 0xBF58476D1CE4E5B9 % 0xFFFFFFFFFFFFFFC5
    number ^= number >> 31
    return (number * 0x94D049BB133111EB % 2**64) / 2**64


@dataclass
class Toy:
    """A proposer whose token at a position is right with chance ``acceptance(request, position)``."""

    acceptance: Callable[[int, int], float]
    raw: Callable[[int, int, int], float] | None = None  # (request, position, depth) -> claimed survival; None: true
    coverage: Callable[[int, int], float] = lambda request, position: 1.0  # chance of any idea
    shared_s: float = 0.0
    per_depth_s: float = 0.0
    per_member_s: float = 0.0
    stateful: bool = False
    length: int = 64  # of its longest draft
    seed: int = 0

    def seconds(self, members: int, depth: int) -> float:
        return self.shared_s + self.per_depth_s * depth + self.per_member_s * members

    def right(self, request: int, position: int) -> bool:
        return uniform(self.seed, request, position) < self.acceptance(request, position)

    def tree(self, request: int, position: int, depth: int) -> DraftTree:
        if uniform("idea", request, position) >= self.coverage(request, position):
            return DraftTree.chain([], [])
        tokens, shares, share, alive = [], [], 1.0, True
        for place in range(min(depth, self.length)):
            alive = alive and self.right(request, position + place)
            share *= self.acceptance(request, position + place)
            tokens.append(RIGHT if alive else WRONG)
            shares.append(self.raw(request, position, place + 1) if self.raw else share)
        return DraftTree.chain(tokens, shares)


@dataclass
class World:
    """Requests that decode for ever, all at once."""

    make: Callable[[PolicySetup], Policy]
    toys: Mapping[str, Toy]
    plane: Plane
    max_draft: int = 8
    batch: int = 1
    verify_s: float = 0.0  # what a step with drafts takes beyond its rows
    noise: float = 0.0
    now_s: float = 0.0
    num_tokens: int = 0
    num_steps: int = 0
    num_nodes: int = 0
    nodes_by_step: list[int] = field(default_factory=list)
    rests: int = 0
    asked: list[Sequence[tuple[str, tuple[int, ...], int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cost = StepCost(self.plane)
        self.policy = self.make(PolicySetup(tuple(self.toys), self.cost, self.max_draft))
        self.contexts: list[Context] = []
        self.ids: dict[Context, int] = {}
        self.caught_up: dict[tuple[str, Context], int] = {}
        self.resize(self.batch)

    def resize(self, batch: int) -> None:
        while len(self.contexts) > batch:
            self.policy.finish(self.contexts.pop())
        while len(self.contexts) < batch:
            context = Context([RIGHT] * 9, 8)
            self.ids[context] = len(self.ids)
            self.contexts.append(context)
            self.policy.begin(context)
        self.batch = batch

    def renew(self, place: int) -> None:
        """A request ends and another takes its place."""
        self.policy.finish(self.contexts[place])
        context = Context([RIGHT] * 9, 8)
        self.ids[context] = len(self.ids)
        self.contexts[place] = context
        self.policy.begin(context)

    def run(self, num_steps: int) -> float:
        """Tokens per second over so many steps."""
        began_s, began_tokens = self.now_s, self.num_tokens
        for _ in range(num_steps):
            self.step()
        return (self.num_tokens - began_tokens) / (self.now_s - began_s)

    @property
    def plain(self) -> float:
        """Tokens per second without drafts."""
        return self.batch / self.plane.seconds(self.batch)

    def step(self) -> None:
        self.num_steps += 1
        if self.policy.rests(self.batch):
            self.rests += 1
            self.nodes_by_step.append(0)
            self._emit({}, {}, self.plane.seconds(self.batch))
            return
        load = StepLoad(self.batch, sum([len(context.tokens) for context in self.contexts]), self.batch)
        view = StepView(
            self.contexts, [self.max_draft] * self.batch, load, self.batch, 512 - self.batch, int(self.now_s * 1e6)
        )
        asks = self.policy.order(view)
        self.asked.append(asks)
        proposals, calls, evidence = self._ask(asks)
        draft_s = sum([call.seconds for call in calls])
        trees = self.policy.choose(view, proposals, draft_s) if proposals else {}
        nodes = sum([len(tree) for tree in trees.values()])
        self.num_nodes += nodes
        self.nodes_by_step.append(nodes)
        seconds = draft_s + self.plane.seconds(self.batch + nodes) + (self.verify_s if nodes else 0.0)
        seconds *= 1.0 + self.noise * (uniform("noise", self.num_steps) - 0.5)
        emitted = self._emit(trees, {}, seconds)
        self.policy.learn(view, StepResult(seconds, calls, proposals, evidence, trees, emitted))

    def _ask(
        self, asks: Sequence[tuple[str, tuple[int, ...], int]]
    ) -> tuple[list[Proposal], list[Call], list[Evidence]]:
        proposals, calls, evidence = [], [], []
        for name, members, depth in asks:
            toy = self.toys[name]
            calls.append(Call(name, len(members), depth, toy.seconds(len(members), depth)))
            for member in members:
                context = self.contexts[member]
                request, position = self.ids[context], len(context.tokens)
                if depth:
                    tree = toy.tree(request, position, depth)
                    if len(tree):
                        proposals.append(Proposal(name, member, tree))
                elif toy.stateful:
                    start = max(self.caught_up.get((name, context), 0), position - 64)
                    hits = sum([toy.right(request, place) for place in range(start, position)])
                    if position > start:
                        evidence.append(Evidence(name, member, hits, position - start))
                self.caught_up[name, context] = position
        return proposals, calls, evidence

    def _emit(self, trees: Mapping[int, DraftTree], _: object, seconds: float) -> list[int]:
        emitted = []
        for member, context in enumerate(self.contexts):
            tree = trees.get(member)
            count = 1 + (len(tree.path([RIGHT] * 64)) if tree is not None else 0)
            context.tokens.extend([RIGHT] * count)
            emitted.append(count)
        self.now_s += seconds
        self.num_tokens += sum(emitted)
        return emitted

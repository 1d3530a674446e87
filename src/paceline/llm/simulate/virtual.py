"""The engine in virtual time: the real scheduler, speculator and policy, on a device that only takes time.

Nothing here decides. A step is scheduled, drafted, committed and learned from by the objects that
serve live; only the device, the texts and the clock are stood in for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import final

from paceline.clock import VirtualClock
from paceline.decision.table import Table
from paceline.errors import RejectedError
from paceline.llm.blocks import BlockPool
from paceline.llm.chunking import ChunkPolicy
from paceline.llm.config import EngineConfig
from paceline.llm.draft.proposer import Proposer
from paceline.llm.load import StepLoad
from paceline.llm.plan import Chunk, Outcome, StepPlan
from paceline.llm.policies import make_policy
from paceline.llm.request import Request
from paceline.llm.scheduler import Limits, Scheduler
from paceline.llm.sequence import Sequence as Sample
from paceline.llm.simulate.proposers import VOCAB_SIZE, Foresight, SimulatedHeads, SimulatedLookup, SpendingClock, text
from paceline.llm.simulate.published import ServedModel
from paceline.llm.simulate.traces import AcceptanceTrace
from paceline.llm.speculation import Policy, PolicySetup
from paceline.llm.speculator import Speculator
from paceline.llm.step_cost import StepCost
from paceline.llm.step_model import ProfiledCell, StepModel
from paceline.metrics import Lifetime
from paceline.scheduling import Wait

Arm = Callable[[PolicySetup, Foresight], Policy]
"""One side of a comparison: makes its policy; only an oracle uses what a simulation knows."""


SIMULATED = EngineConfig(
    model="", max_num_seqs=256, max_batched_tokens=8192, max_queued_requests=1_000_000, max_queued_tokens=2**62
)
"""How a simulated engine is set up by default: as on a large device, and nobody is turned away."""

_NUM_LOGITS = 128_256  # of a row, as the Llama 3 family has them


def named_policy(name: str) -> Arm:
    """A maker of the policy that the command line calls ``name``."""
    return lambda setup, foresight: make_policy(name, setup)


@final
class VirtualEngine:
    """A scheduler for ``replay`` whose every step is that of the real engine.

    With ``cost_factor`` the profile that scheduler and policy start from is wrong by as much.
    """

    def __init__(
        self,
        served: ServedModel,
        traces: Sequence[AcceptanceTrace],
        make: Arm,
        config: EngineConfig,
        *,
        cost_factor: float = 1.0,
    ) -> None:
        self.virtual = VirtualClock()
        self.clock = SpendingClock(self.virtual)
        cost = profiled_cost(served, config, cost_factor)
        limits = Limits(
            max_num_seqs=config.max_num_seqs,
            max_batched_tokens=config.max_batched_tokens,
            max_model_len=served.max_model_len,
            max_queued_requests=config.max_queued_requests,
            max_queued_tokens=config.max_queued_tokens,
        )
        pool = BlockPool(served.num_blocks, prefix_caching=config.prefix_caching)
        self.scheduler = Scheduler(pool, limits, ChunkPolicy(cost, max_step_s=config.max_step_s), cost)
        proposers: dict[str, Proposer] = {
            "heads": SimulatedHeads(traces, served, self.clock),
            "lookup": SimulatedLookup(traces, served, self.clock),
        }
        policy = make(PolicySetup(tuple(proposers), cost, config.max_draft), Foresight(traces, served))
        self.speculator = Speculator(
            config.speculation,
            policy,
            proposers,
            self.scheduler,
            self.clock,
            vocab_size=VOCAB_SIZE,
            max_draft=config.max_draft,
        )
        self.served = served
        self.lives: list[Lifetime] = []  # of the requests that ended
        self.meter = Meter()
        self.refill: Iterator[Request] = iter(())  # one is submitted whenever one ends
        self.give_up: Callable[[Lifetime], bool] = lambda life: False
        self._over = False
        self._firsts: dict[Sample, int] = {}  # µs of the first token

    @property
    def num_failures(self) -> int:
        stats = self.speculator.stats()
        return sum(stats.num_failures.values()) if stats else 0

    def submit(self, item: Request, now: int) -> None:
        try:
            self.scheduler.submit(item, now)
        except RejectedError:
            self._note(Lifetime(item.request_id, now, None, None, None, None, 0, "failed"))

    def schedule(self, now: int) -> StepPlan | Wait:
        if self._over:
            return Wait(None)
        plan = self.scheduler.schedule(now)
        if isinstance(plan, Wait):
            return plan
        self.clock.begin_step()
        return self.speculator.draft(plan, now)

    def execute(self, plan: StepPlan) -> tuple[float, list[Outcome]]:
        """Seconds of the step, drafting included, and what each chunk brings."""
        load = plan.load
        verifies = any(chunk.tree.tokens for chunk in plan.chunks)
        seconds = self.clock.spent_s + self.served.step_s(load, verifies=verifies)
        outcomes = [_outcome(chunk) for chunk in plan.chunks]
        if plan.num_decodes:
            self.meter.count(seconds, sum([len(outcome.tokens) for outcome in outcomes]), load)
        return seconds, outcomes

    def commit(self, plan: StepPlan, result: list[Outcome], now: int) -> None:
        ended = []
        for chunk, outcome in zip(plan.chunks, result, strict=True):
            sample = chunk.sequence
            if not chunk.samples:
                continue
            if sample.num_emitted == 0:
                self._firsts[sample] = now
            if outcome.finish_reason is not None:
                self.speculator.finish(sample)
                ended.append(sample)
                continue
            if sample.num_emitted == 0:
                self.speculator.begin(sample)
            sample.num_emitted += len(outcome.tokens)
        self.scheduler.commit(plan, result, now)
        self.speculator.learn(plan, result, now)
        for sample in ended:
            self._end(sample, now)

    def _end(self, sample: Sample, now: int) -> None:
        name = sample.request.request_id
        first = self._firsts.pop(sample)
        self._note(Lifetime(name, sample.arrival, None, sample.started, first, now, sample.num_output, "done"))
        for following in islice(self.refill, 1):
            self.submit(following, now)

    def _note(self, life: Lifetime) -> None:
        self.lives.append(life)
        self._over = self._over or self.give_up(life)


def _outcome(chunk: Chunk) -> Outcome:
    """The drafts that the text follows, and the token after them."""
    if not chunk.samples:
        return Outcome()
    sample = chunk.sequence
    position = sample.num_output
    path = chunk.tree.path(text(position, len(chunk.tree.tokens))) if chunk.tree.tokens else []
    last = position + len(path)
    return Outcome(text(position, len(path) + 1), "length" if last + 1 == sample.max_tokens else None, tuple(path))


@final
@dataclass(slots=True)
class Meter:
    """Sums over the steps in which something decoded, from the moment it is switched on."""

    on: bool = True
    is_over: bool = False
    seconds: float = 0.0
    num_tokens: int = 0
    num_rows: int = 0
    num_seqs: int = 0
    num_steps: int = 0

    def count(self, seconds: float, num_tokens: int, load: StepLoad) -> None:
        if self.on:
            self.seconds += seconds
            self.num_tokens += num_tokens
            self.num_rows += load.num_rows
            self.num_seqs += load.num_seqs
            self.num_steps += 1


# What a live engine measures: rows of one sequence, several sequences, long contexts.
_CELLS = (
    *(ProfiledCell(rows, 64, 1, rows - 1) for rows in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256, 512)),
    *(ProfiledCell(seqs, 64 * seqs, seqs, 0) for seqs in (2, 4, 8, 16, 32, 64)),
    *(
        ProfiledCell(*cell)
        for cell in ((8, 64, 1, 0), (32, 512, 8, 0), (1, 1024, 1, 0), (8, 1024, 1, 0), (8, 4096, 8, 0))
    ),
)


def profiled_cost(served: ServedModel, config: EngineConfig, factor: float = 1.0) -> StepCost:
    """The engine's cost model after a profile of this device in which everything took ``factor`` times as long."""
    profile = Table([sorted({float(value) for value in axis}) for axis in zip(*_CELLS, strict=True)])
    for cell in _CELLS:
        profile.profile(cell, [factor * served.step_s(cell.load, verifies=cell.num_rows > cell.num_seqs)])
    cost = StepCost(StepModel(config.max_batched_tokens, _NUM_LOGITS))
    cost.use(profile)
    return cost

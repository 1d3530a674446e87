"""The engine's step: decide, act, learn. One thread drives it; the surfaces around it are other files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from paceline.clock import Clock, to_seconds
from paceline.errors import ExecutionError, InvalidRequest
from paceline.llm.assemble import assemble
from paceline.llm.messages import EngineStats, ModelInfo, SpeculationReport
from paceline.llm.output import OutputFactory, SequenceOutput
from paceline.llm.plan import Outcome, StepPlan
from paceline.llm.profile import KeptProfile
from paceline.llm.request import Delta, Request
from paceline.llm.runner import Runner
from paceline.llm.scheduler import Scheduler
from paceline.llm.sequence import Sequence
from paceline.llm.speculator import Speculator
from paceline.llm.structured import Matcher
from paceline.llm.verify import draw, moves
from paceline.scheduling import Wait


@dataclass(slots=True)
class _Totals:
    prompt_tokens: int = 0
    generation_tokens: int = 0
    steps: int = 0
    rows: int = 0
    step_time: int = 0  # µs
    failed_rows: int = 0


@final
class EngineCore:
    """Scheduler, runner and outputs of one model. Not thread-safe: whoever steps also submits."""

    def __init__(
        self,
        info: ModelInfo,
        runner: Runner,
        scheduler: Scheduler,
        outputs: OutputFactory,
        speculator: Speculator,
        clock: Clock,
        profile: KeptProfile | None = None,
    ) -> None:
        self.info = info
        self._runner = runner
        self._speculator = speculator
        self._scheduler = scheduler
        self._factory = outputs
        self._clock = clock
        self._profile = profile
        self._outputs: dict[Sequence, SequenceOutput] = {}
        self._totals = _Totals()

    @property
    def idle(self) -> bool:
        return not self._outputs

    def warm_up(self) -> None:
        """Loads what a first structured request would wait for; safe in any thread."""
        self._factory.warm_up()

    def measure(self, budget_s: float) -> None:
        """Measures for about ``budget_s`` seconds what steps take; only while idle."""
        if self._profile is not None:
            self._profile.measure(budget_s)

    def measure_next(self) -> bool:
        """Measures a little of what steps take; False when all is known. Only while idle."""
        assert self.idle, "whoever waits for tokens goes first"
        return self._profile is not None and self._profile.measure_next()

    def warm(self, request: Request) -> Matcher | None:
        """Compiles what ``submit`` will need, in up to seconds; the only method that any thread may call.

        InvalidRequest names what cannot be compiled.
        """
        return self._factory.warm(request)

    def submit(self, request: Request, matcher: Matcher | None = None) -> None:
        """Queues a request, with what ``warm`` made for it; InvalidRequest or QueueFull leave nothing behind."""
        prompt = request.prompt
        if prompt and (min(prompt) < 0 or max(prompt) >= self.info.vocab_size):
            raise InvalidRequest(f"token ids must be in [0, {self.info.vocab_size})", param="prompt")
        make = self._factory.prepare(request, matcher)
        self._scheduler.submit(request, self._clock.now())
        for sequence in self._scheduler.sequences(request.request_id):
            self._outputs[sequence] = make(sequence.index, sequence.max_tokens)

    def abort(self, request_id: str) -> None:
        """Ends a request wherever it is; an unknown id is ignored."""
        for sequence in self._scheduler.sequences(request_id):
            self._drop(sequence)

    def step(self) -> list[Delta]:
        """Advances every scheduled sequence; what is new since the last call."""
        now = self._clock.now()
        deltas = [self._forget(sequence).end("deadline") for sequence in self._scheduler.expire(now)]
        plan = self._scheduler.schedule(now)
        if isinstance(plan, Wait):
            return deltas
        plan = self._speculator.draft(plan, now)
        try:
            logits = self._runner.forward(assemble(plan))
        except (ExecutionError, MemoryError, RuntimeError) as error:
            return deltas + self._fail(plan, error)
        outcomes, new = self._emit(plan, logits)
        self._tidy(plan, outcomes)
        now = self._clock.now()
        self._scheduler.commit(plan, outcomes, now)
        self._speculator.learn(plan, outcomes, now)
        self._count(plan, outcomes, now)
        return deltas + new

    def close(self) -> None:
        """Gives the memory of the runner and the proposers back."""
        self._runner.close()
        self._speculator.close()

    def stats(self) -> EngineStats:
        scheduler, pool, totals = self._scheduler, self._scheduler.pool, self._totals
        return EngineStats(
            num_running=len(scheduler.running),
            num_waiting=len(scheduler.waiting),
            num_blocks=pool.num_blocks,
            num_blocks_used=pool.num_used,
            num_blocks_cached=pool.num_cached,
            num_prefix_queries=scheduler.num_prefix_queries,
            num_prefix_hits=scheduler.num_prefix_hits,
            num_preemptions=scheduler.num_preemptions,
            num_prompt_tokens=totals.prompt_tokens,
            num_generation_tokens=totals.generation_tokens,
            num_steps=totals.steps,
            num_rows=totals.rows,
            step_time_s=to_seconds(totals.step_time),
            num_failed_rows=totals.failed_rows,
            num_leaked_blocks=0 if scheduler.running else pool.num_used,
            speculation=self._speculator.stats(),
        )

    def speculation_report(self) -> SpeculationReport | None:
        """Counters and last decisions of speculation; None if it is off."""
        return self._speculator.report()

    # ── what a step brought ──────────────────────────────────────────────────────────────────

    def _emit(self, plan: StepPlan, logits: NDArray[np.float32]) -> tuple[list[Outcome], list[Delta]]:
        """Draws the tokens of every sampling chunk and turns them into text."""
        outcomes, deltas, last_rows = draw(plan, logits, self._outputs)
        for chunk, outcome in zip(plan.chunks, outcomes, strict=True):
            if not chunk.samples:
                continue
            sequence = chunk.sequence
            if outcome.finish_reason is not None:
                self._forget(sequence)
                self._totals.failed_rows += outcome.finish_reason == "error"
                continue
            if sequence.num_emitted == 0:
                self._speculator.begin(sequence, self._outputs[sequence])
            sequence.num_emitted += len(outcome.tokens)
        if self._speculator.wants_hidden:
            self._speculator.note_hidden(plan, last_rows, self._runner.hidden)
        return outcomes, deltas

    def _tidy(self, plan: StepPlan, outcomes: list[Outcome]) -> None:
        """Puts the keys and values of accepted branches side by side."""
        slots = moves(plan, outcomes)
        if slots is not None:
            self._runner.move(*slots)

    def _fail(self, plan: StepPlan, error: Exception) -> list[Delta]:
        """Ends the sequences of a step that the device could not run; the others go on."""
        text = f"a step of {len(plan.chunks)} sequences failed: {type(error).__name__}"
        deltas = []
        for chunk in plan.chunks:
            self._scheduler.finish(chunk.sequence)
            deltas.append(self._forget(chunk.sequence).end("error", text))
        return deltas

    def _drop(self, sequence: Sequence) -> None:
        self._scheduler.finish(sequence)
        self._forget(sequence)

    def _forget(self, sequence: Sequence) -> SequenceOutput:
        self._speculator.finish(sequence)
        return self._outputs.pop(sequence)

    def _count(self, plan: StepPlan, outcomes: list[Outcome], now: int) -> None:
        totals = self._totals
        totals.steps += 1
        totals.step_time += now - plan.started
        for chunk, outcome in zip(plan.chunks, outcomes, strict=True):
            totals.rows += chunk.num_rows
            totals.generation_tokens += len(outcome.tokens)
            if outcome.tokens and chunk.sequence.num_output == len(outcome.tokens):
                totals.prompt_tokens += chunk.sequence.num_prompt

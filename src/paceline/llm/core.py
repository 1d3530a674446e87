"""The engine's step: decide, act, learn. One thread drives it; the surfaces around it are other files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from paceline.clock import Clock, to_seconds
from paceline.errors import ExecutionError, InvalidRequest
from paceline.llm.assemble import assemble, wants_prompt_logits
from paceline.llm.messages import EngineStats, ModelInfo
from paceline.llm.output import OutputFactory, SequenceOutput
from paceline.llm.plan import Chunk, Outcome, StepPlan
from paceline.llm.request import Delta, Request
from paceline.llm.runner import Runner
from paceline.llm.sampler import Choice, FailedRow, Row, choose_rows
from paceline.llm.scheduler import Scheduler
from paceline.llm.sequence import Sequence
from paceline.llm.structured import Matcher
from paceline.scheduling import Wait

_log = logging.getLogger(__name__)


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
        self, info: ModelInfo, runner: Runner, scheduler: Scheduler, outputs: OutputFactory, clock: Clock
    ) -> None:
        self.info = info
        self._runner = runner
        self._scheduler = scheduler
        self._factory = outputs
        self._clock = clock
        self._outputs: dict[Sequence, SequenceOutput] = {}
        self._totals = _Totals()

    @property
    def idle(self) -> bool:
        return not self._outputs

    def warm_up(self) -> None:
        """Loads what a first structured request would wait for; safe in any thread."""
        self._factory.warm_up()

    def warm(self, request: Request) -> Matcher | None:
        """Compiles what ``submit`` will need, in up to seconds; the only method that any thread may call.

        InvalidRequest names what cannot be compiled.
        """
        return self._factory.warm(request)

    def submit(self, request: Request, matcher: Matcher | None = None) -> None:
        """Queues a request, with what ``warm`` made for it; InvalidRequest or QueueFull leave nothing behind."""
        if any(not 0 <= token < self.info.vocab_size for token in request.prompt):
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
        deltas = [self._outputs.pop(sequence).end("deadline") for sequence in self._scheduler.expire(now)]
        plan = self._scheduler.schedule(now)
        if isinstance(plan, Wait):
            return deltas
        try:
            logits = self._runner.forward(assemble(plan))
        except (ExecutionError, MemoryError, RuntimeError) as error:
            return deltas + self._fail(plan, error)
        outcomes, new = self._emit(plan, logits)
        now = self._clock.now()
        self._scheduler.commit(plan, outcomes, now)
        self._count(plan, now)
        return deltas + new

    def close(self) -> None:
        """Gives the runner's memory back."""
        self._runner.close()

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
        )

    # ── what a step brought ──────────────────────────────────────────────────────────────────

    def _emit(self, plan: StepPlan, logits: NDArray[np.float32]) -> tuple[list[Outcome], list[Delta]]:
        """Draws the tokens of every sampling chunk and turns them into text."""
        drawn = self._draw(plan, logits)
        outcomes: list[Outcome] = []
        deltas: list[Delta] = []
        for chunk in plan.chunks:
            if not chunk.samples:
                outcomes.append(Outcome())
                continue
            outcome, delta = _accept(self._outputs[chunk.sequence], next(drawn), chunk.sequence)
            outcomes.append(outcome)
            deltas.append(delta)
            chunk.sequence.num_emitted += len(outcome.tokens)
            if outcome.finish_reason is not None:
                del self._outputs[chunk.sequence]
            self._totals.failed_rows += outcome.finish_reason == "error"
        return outcomes, deltas

    def _draw(self, plan: StepPlan, logits: NDArray[np.float32]) -> Iterator[Choice | FailedRow]:
        rows: list[Row] = []
        indices: list[int] = []
        first = 0
        for chunk in plan.chunks:
            output = self._outputs[chunk.sequence]
            num_logits = _num_logits(chunk)
            if wants_prompt_logits(chunk):
                output.note_prompt(chunk.start, logits[first : first + num_logits])
            first += num_logits
            if chunk.samples:
                rows.append(output.row())
                indices.append(first - 1)
        if not rows:
            return iter(())
        return iter(_choose(logits if len(indices) == first else logits[indices], rows))

    def _fail(self, plan: StepPlan, error: Exception) -> list[Delta]:
        """Ends the sequences of a step that the device could not run; the others go on."""
        text = f"a step of {len(plan.chunks)} sequences failed: {type(error).__name__}"
        deltas = []
        for chunk in plan.chunks:
            self._scheduler.finish(chunk.sequence)
            deltas.append(self._outputs.pop(chunk.sequence).end("error", text))
        return deltas

    def _drop(self, sequence: Sequence) -> None:
        self._scheduler.finish(sequence)
        del self._outputs[sequence]

    def _count(self, plan: StepPlan, now: int) -> None:
        totals = self._totals
        totals.steps += 1
        totals.step_time += now - plan.started
        for chunk in plan.chunks:
            totals.rows += chunk.num_rows
            totals.generation_tokens += chunk.samples
            if chunk.samples and chunk.sequence.num_output == 1:
                totals.prompt_tokens += chunk.sequence.num_prompt


def _choose(logits: NDArray[np.float32], rows: list[Row]) -> list[Choice | FailedRow]:
    """A token for every row; a row that raises fails alone."""
    try:
        return choose_rows(logits, rows)
    except Exception:
        if len(rows) == 1:
            _log.exception("a token could not be drawn")
            return [FailedRow("raised")]
        return [_choose(logits[index : index + 1], [row])[0] for index, row in enumerate(rows)]


def _accept(output: SequenceOutput, choice: Choice | FailedRow, sequence: Sequence) -> tuple[Outcome, Delta]:
    """What a token brings; a sample whose text or grammar raises fails alone."""
    try:
        return output.accept(choice, sequence)
    except Exception:
        _log.exception("the text of a sample could not be made")
        return Outcome((), "error"), output.fail("raised")


def _num_logits(chunk: Chunk) -> int:
    return chunk.num_rows if wants_prompt_logits(chunk) else int(chunk.samples)

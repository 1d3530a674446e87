"""Forced acceptance: model A with random weights and a proposer that knows the answer and spoils it at will."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from benchmarks.common.cells import Cells
from benchmarks.engine.models import make, prompts
from benchmarks.speculation.drive import at_once, drive
from benchmarks.speculation.engines import Model, make_core, open_model
from benchmarks.speculation.protocol import (
    FORCED_ACCEPTANCES,
    FORCED_ARMS,
    FORCED_BATCHES,
    FORCED_PROMPT,
    OURS,
    PLAIN,
    SPECULATION,
    Protocol,
)
from paceline.llm.config import EngineConfig
from paceline.llm.core import EngineCore
from paceline.llm.draft.proposer import Context, Proposer
from paceline.llm.draft.tree import NO_DRAFT, DraftTree
from paceline.llm.request import Request, SamplingParams

Answers = Mapping[tuple[int, ...], Sequence[int]]  # prompt -> what the plain engine gives
MAX_FIXED = 16  # known tokens beyond an answer, so that its last drafts are as long as its first
WARM_UP_ROUNDS = 2  # of the engine that learns, before its first measured round


@final
class Oracle:
    """Proposes the known answer; each token is spoilt with probability 1 - ``acceptance``.

    Which tokens are spoilt depends on prompt and position alone, so every arm meets the same luck. Where the text
    has left the known answer (half precision may flip a near tie), nothing is proposed.
    """

    def __init__(self, answers: Answers, acceptance: float, vocab_size: int) -> None:
        self._answers, self._acceptance, self._vocab_size = answers, acceptance, vocab_size
        self._spoilt: dict[Context, Sequence[int] | None] = {}

    def propose(self, contexts: Sequence[Context], depth: int) -> Sequence[DraftTree]:
        return [self._tree(context, depth) for context in contexts]

    def _tree(self, context: Context, depth: int) -> DraftTree:
        prompt = tuple(context.tokens[: context.num_prompt])
        place = len(context.tokens) - context.num_prompt
        answer = self._answers[prompt]
        if context.tokens[-1] != answer[place - 1]:
            return NO_DRAFT
        spoilt = self._spoilt.get(context)
        if spoilt is None:
            spoilt = self._spoilt[context] = self._spoil(prompt, answer)
        tokens = spoilt[place : place + depth]
        return DraftTree.chain(tokens, [self._acceptance**count for count in range(1, len(tokens) + 1)])

    def _spoil(self, prompt: tuple[int, ...], answer: Sequence[int]) -> list[int]:
        rng = random.Random(f"{prompt}/{self._acceptance}")
        return [
            token
            if rng.random() < self._acceptance
            else (token + rng.randrange(1, self._vocab_size)) % self._vocab_size
            for token in answer
        ]

    def catch_up(self, contexts: Sequence[Context]) -> Sequence[tuple[int, int]]:
        return [(0, 0)] * len(contexts)

    def num_missed(self, context: Context) -> int:
        return 0

    def finish(self, context: Context) -> None:
        self._spoilt.pop(context, None)

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Steady:
    """A batch from the moment all of it decodes until its first answer is complete."""

    num_tokens: int
    seconds: float
    num_drafted: int
    num_accepted: int


def measure_forced(cells: Cells, protocol: Protocol, work_dir: Path) -> None:
    """All arms of a cell in turns on one loaded model."""
    names = {(rate, batch): f"forced/{batch}/{rate}" for rate in FORCED_ACCEPTANCES for batch in FORCED_BATCHES}
    if all(cells.get(name) is not None for name in names.values()):
        return
    model = open_model(_config(make("A", work_dir), PLAIN))
    try:
        for batch in FORCED_BATCHES:
            asked = prompts(batch, FORCED_PROMPT, seed=batch)
            answers = _answers(model, asked, protocol.num_forced_tokens)
            for rate in FORCED_ACCEPTANCES:
                if cells.get(names[rate, batch]) is None:
                    cells.put(names[rate, batch], _measure_cell(model, answers, rate, protocol))
    finally:
        model.runner.close()


def _config(folder: Path, arm: str) -> EngineConfig:
    return EngineConfig(
        model=str(folder),
        speculation=SPECULATION[arm],
        max_num_seqs=max(FORCED_BATCHES),
        num_blocks=max(FORCED_BATCHES) * 24,
    )


def _answers(model: Model, asked: Sequence[Sequence[int]], num_tokens: int) -> Answers:
    core = make_core(model, _config(model.folder, PLAIN), {}, lambda policy: policy)
    requests = _requests(asked, num_tokens + MAX_FIXED)
    served = drive(core, requests, at_once(len(requests))).served
    return {request.prompt: one.tokens.tolist() for request, one in zip(requests, served, strict=True)}


def _measure_cell(model: Model, answers: Answers, rate: float, protocol: Protocol) -> dict[str, Any]:
    cores = {}
    for arm in FORCED_ARMS:
        oracle: dict[str, Proposer] = {} if arm == PLAIN else {"oracle": Oracle(answers, rate, model.info.vocab_size)}
        cores[arm] = make_core(model, _config(model.folder, arm), oracle, lambda policy: policy)
    asked = list(answers)
    for _ in range(WARM_UP_ROUNDS):
        _run(cores[OURS], asked, protocol.num_forced_tokens)
    rounds: dict[str, list[Steady]] = {arm: [] for arm in cores}
    for turn in range(protocol.num_forced_rounds):
        order = list(cores)
        random.Random(f"forced/{turn}/{rate}").shuffle(order)
        for arm in order:
            rounds[arm].append(_run(cores[arm], asked, protocol.num_forced_tokens))
    return {arm: _record(found) for arm, found in rounds.items()}


def _record(rounds: Sequence[Steady]) -> dict[str, Any]:
    num_drafted = sum(found.num_drafted for found in rounds)
    return {
        "tokens_per_s": [found.num_tokens / found.seconds for found in rounds],
        "accepted_share": sum(found.num_accepted for found in rounds) / num_drafted if num_drafted else None,
    }


def _requests(asked: Sequence[Sequence[int]], num_tokens: int) -> list[Request]:
    params = SamplingParams(temperature=0.0, max_tokens=num_tokens, ignore_eos=True)
    return [
        Request(request_id=f"forced/{index}", prompt=tuple(prompt), params=params) for index, prompt in enumerate(asked)
    ]


def _run(core: EngineCore, asked: Sequence[Sequence[int]], num_tokens: int) -> Steady:
    """Every prompt at once, greedy, until the first answer is complete; the others are aborted."""
    requests = _requests(asked, num_tokens)
    before = _num_drafts(core)
    for request in requests:
        core.submit(request)
    counts = dict.fromkeys([request.request_id for request in requests], 0)
    num_began, began, ended = 0, 0.0, 0.0
    finished = False
    while not finished:
        deltas = core.step()
        ended = time.perf_counter()
        for delta in deltas:
            counts[delta.request_id] += len(delta.token_ids)
        finished = any(delta.finish_reason for delta in deltas)
        if num_began == 0 and all(counts.values()):
            num_began, began = sum(counts.values()), ended
    for request in requests:
        core.abort(request.request_id)
    after = _num_drafts(core)
    return Steady(sum(counts.values()) - num_began, ended - began, after[0] - before[0], after[1] - before[1])


def _num_drafts(core: EngineCore) -> tuple[int, int]:
    """Draft tokens verified so far, and those of them that were accepted."""
    speculation = core.stats().speculation
    return (0, 0) if speculation is None else (speculation.num_draft_tokens, speculation.num_accepted_tokens)


def forced_rows(cells: Cells) -> list[dict[str, Any]]:
    """Tokens per second, and how many times those of plain, of every arm."""
    rows = []
    for name, arms in cells.having("forced/").items():
        batch, rate = name.split("/")
        plain = arms[PLAIN]["tokens_per_s"]
        for arm, found in arms.items():
            speedups = [ours / theirs for ours, theirs in zip(found["tokens_per_s"], plain, strict=True)]
            rows.append(
                {
                    "acceptance": float(rate),
                    "batch": int(batch),
                    "arm": arm,
                    "tokens_per_s": round(statistics.median(found["tokens_per_s"]), 1),
                    "speedup": round(statistics.median(speedups), 3),
                    "accepted_share": found["accepted_share"],
                }
            )
    return rows

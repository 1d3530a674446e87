"""Nine engines of the packaged model under the same load: the same prompts at the same moments, in turns."""

from __future__ import annotations

import contextlib
import random
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.common.cells import Cells
from benchmarks.speculation.drive import Run, arrivals, at_once, drive
from benchmarks.speculation.protocol import ARMS, KV_MEMORY, MAX_NUM_SEQS, PLAIN, RHOS, SPECULATION, WORKLOADS, Protocol
from benchmarks.speculation.workloads import Prompt, make_prompts
from paceline.llm import embedded_model
from paceline.llm.chat import ChatTemplate
from paceline.llm.config import EngineConfig
from paceline.llm.core import EngineCore
from paceline.llm.loading import load
from paceline.llm.tokenizer import Tokenizer

MIN_REQUESTS = 24
WARM_UP_SEED, SATURATION_SEED = 10_001, 10_002
NUM_WARM_UP_PROMPTS = 32  # of each workload, before anything is measured
NUM_ALONE = 8
NGRAM = 4


@dataclass(frozen=True, slots=True)
class Arms:
    """All engines, loaded, and the text side that they share."""

    cores: Mapping[str, EngineCore]
    tokenizer: Tokenizer
    template: ChatTemplate


def arm_config(arm: str) -> EngineConfig:
    """The plain engine has no draft model, as a user without speculation would have none."""
    return EngineConfig(
        model=embedded_model(),
        speculation=SPECULATION[arm],
        draft=None if arm == PLAIN else embedded_model("draft"),
        max_num_seqs=MAX_NUM_SEQS,
        kv_memory=KV_MEMORY,
        max_queued_requests=100_000,
    )


@contextlib.contextmanager
def opened_arms() -> Iterator[Arms]:
    """Engines that have seen some of every workload, so that what adapts has adapted to this machine."""
    loaded = {arm: load(arm_config(arm)) for arm in ARMS}
    text = loaded[PLAIN]
    arms = Arms({arm: model.core for arm, model in loaded.items()}, text.tokenizer, text.template)
    try:
        for workload in WORKLOADS:
            prompts = make_prompts(workload, arms, NUM_WARM_UP_PROMPTS, WARM_UP_SEED)
            for arm, core in arms.cores.items():
                serve(core, prompts, at_once(len(prompts)), f"warm-up/{workload}/{arm}")
                serve(core, prompts[:2], [0.0, 60.0], f"warm-up/{workload}/{arm}/alone")
        yield arms
    finally:
        for core in arms.cores.values():
            core.close()


def serve(core: EngineCore, prompts: list[Prompt], arrivals_s: list[float], salt: str) -> Run:
    """A run whose requests share cached prefixes and earlier answers with each other and with no other run."""
    requests = [prompt.request(f"{salt}/{index}", salt) for index, prompt in enumerate(prompts)]
    return drive(core, requests, arrivals_s)


# ── saturation ───────────────────────────────────────────────────────────────────────────────────


def measure_saturation(arms: Arms, cells: Cells, protocol: Protocol) -> None:
    """What the plain engine holds, in requests per second, and how long a request takes on its own."""
    for workload in WORKLOADS:
        if cells.get(f"saturation/{workload}") is not None:
            continue
        prompts = make_prompts(workload, arms, protocol.num_saturation, SATURATION_SEED)
        runs = [serve(arms.cores[PLAIN], prompts, at_once(len(prompts)), f"saturation/{turn}") for turn in range(3)]
        alone = serve(arms.cores[PLAIN], prompts[:NUM_ALONE], [60.0 * i for i in range(NUM_ALONE)], "alone")
        cells.put(
            f"saturation/{workload}",
            {
                "requests_per_s": statistics.median(map(saturation, runs)),
                "tokens_per_s": statistics.median(run.num_tokens / run.busy_s for run in runs),
                "alone_s": statistics.mean(one.latency_s for one in alone.served),
                "repeated_share": statistics.mean(
                    repeated_share([*prompt.tokens, *one.tokens], len(one.tokens))
                    for prompt, one in zip(prompts, runs[0].served, strict=True)
                ),
                "mean_prompt_tokens": statistics.mean(len(prompt.tokens) for prompt in prompts),
                "mean_output_tokens": runs[0].num_tokens / len(prompts),
            },
        )


def saturation(run: Run) -> float:
    """Requests per second while all places are taken, of a run in which everybody came at once.

    When the last but ``MAX_NUM_SEQS`` has finished, those left are half done on average.
    """
    finished = sorted(one.finish_s for one in run.served)
    num_done = len(finished) - MAX_NUM_SEQS
    return (num_done + MAX_NUM_SEQS / 2) / finished[num_done - 1]


def repeated_share(tokens: list[int], num_output: int) -> float:
    """Share of the last ``num_output`` tokens that end a run of ``NGRAM`` tokens seen before: what lookup could find.

    >>> repeated_share([1, 2, 3, 4, 1, 2, 3, 4], 4)
    0.25
    """
    seen: set[tuple[int, ...]] = set()
    num_repeated = 0
    for end in range(NGRAM, len(tokens) + 1):
        ngram = tuple(tokens[end - NGRAM : end])
        num_repeated += ngram in seen and end > len(tokens) - num_output
        seen.add(ngram)
    return num_repeated / max(1, num_output)


# ── cells ────────────────────────────────────────────────────────────────────────────────────────


def measure_live(arms: Arms, cells: Cells, protocol: Protocol) -> None:
    """Every workload at every load, all arms of a cell one right after the other in random order."""
    for seed in protocol.seeds:
        for workload in WORKLOADS:
            for rho in RHOS:
                name = f"live/{workload}/{rho}/{seed}"
                if cells.get(name) is None:
                    cells.put(name, _measure_cell(arms, cells, protocol, workload, rho, seed))


def _measure_cell(
    arms: Arms, cells: Cells, protocol: Protocol, workload: str, rho: float, seed: int
) -> dict[str, dict[str, Any]]:
    plain = cells.get(f"saturation/{workload}")
    count = num_requests(protocol, rho, plain["requests_per_s"], plain["alone_s"])
    prompts = make_prompts(workload, arms, protocol.num_warm_up + count, seed)
    times = arrivals(rho * plain["requests_per_s"], len(prompts), seed)
    order = list(arms.cores)
    random.Random(f"order/{workload}/{rho}/{seed}").shuffle(order)
    found = {}
    for arm in order:
        run = serve(arms.cores[arm], prompts, times, f"{workload}/{rho}/{seed}")
        found[arm] = _record(run, arms.cores[arm], protocol.num_warm_up)
    return found


def num_requests(protocol: Protocol, rho: float, requests_per_s: float, alone_s: float) -> int:
    """Counted requests of a cell; fewer at low load, where each keeps the engine busy for longer."""
    if protocol.run_s is None:
        return protocol.num_requests
    busy_s = min(rho, 1.0) / requests_per_s + (1.0 - min(rho, 1.0)) * alone_s
    return max(MIN_REQUESTS, min(protocol.num_requests, round(protocol.run_s / busy_s) - protocol.num_warm_up))


def _record(run: Run, core: EngineCore, num_warm_up: int) -> dict[str, Any]:
    counted = run.served[num_warm_up:]
    speculation = core.stats().speculation
    return {
        "latencies_us": [round(1e6 * one.latency_s) for one in counted],
        "first_us": [round(1e6 * (one.first_s - one.arrival_s)) for one in counted],
        "num_tokens": sum(len(one.tokens) for one in counted),
        "span_s": max(one.finish_s for one in counted) - counted[0].arrival_s,
        "busy_s": run.busy_s,
        "num_drafted": sum(one.num_drafted for one in counted),
        "num_accepted": sum(one.num_accepted for one in counted),
        "digests": [one.digest for one in counted],
        "prediction_error": None if speculation is None else speculation.prediction_error,
        "num_failures": 0 if speculation is None else sum(speculation.num_failures.values()),
    }

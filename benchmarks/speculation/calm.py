"""What the adaptive engine costs where nothing is worth speculating."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.common.cells import Cells
from benchmarks.common.intervals import bootstrap_ratio
from benchmarks.engine.models import make
from benchmarks.speculation.drive import Run, at_once, drive
from benchmarks.speculation.live import Arms, arm_config
from benchmarks.speculation.protocol import OURS, PLAIN, Protocol
from benchmarks.speculation.workloads import random_prompts
from paceline.llm.core import EngineCore
from paceline.llm.loading import load
from paceline.llm.request import Request, SamplingParams

BATCHES = (1, 8, 32)
NUM_TOKENS = 64  # of each answer
TURNS_AT_1 = 4  # a batch of 1 is over soon: that many requests one after the other


def measure_calm(arms: Arms, cells: Cells, protocol: Protocol, work_dir: Path) -> None:
    """Plain and adaptive engines in turns, on random prompts continued at temperature 1.

    ``random-prompts``: the packaged model with every proposer. ``random-weights``: a model of the same size whose
    text is noise, with the proposers that need no training.
    """
    if cells.get("calm/random-prompts") is None:
        cores = {arm: arms.cores[arm] for arm in (PLAIN, OURS)}
        cells.put("calm/random-prompts", _measure(cores, protocol))
    if cells.get("calm/random-weights") is None:
        with _random_weights(work_dir) as cores:
            cells.put("calm/random-weights", _measure(cores, protocol))


@contextlib.contextmanager
def _random_weights(work_dir: Path) -> Iterator[dict[str, EngineCore]]:
    folder = str(make("B", work_dir))
    cores = {
        arm: load(msgspec.structs.replace(arm_config(arm), model=folder, draft=None)).core for arm in (PLAIN, OURS)
    }
    try:
        yield cores
    finally:
        for core in cores.values():
            core.close()


def _measure(cores: Mapping[str, EngineCore], protocol: Protocol) -> dict[str, Any]:
    """Seconds of every turn by batch and arm; a first turn warms up and is not kept."""
    found: dict[str, Any] = {}
    for batch in BATCHES:
        seconds: dict[str, list[float]] = {arm: [] for arm in cores}
        num_tokens = num_accepted = 0
        for turn in range(1 + protocol.num_calm_rounds):
            for arm in sorted(cores, reverse=turn % 2 == 0):
                run = _turn(cores[arm], batch, turn)
                if turn > 0:
                    seconds[arm].append(run.busy_s)
                if arm == OURS:
                    num_tokens += run.num_tokens
                    num_accepted += sum(one.num_accepted for one in run.served)
        found[str(batch)] = {"seconds": seconds, "accepted_per_token": num_accepted / num_tokens}
    return found


def _turn(core: EngineCore, batch: int, turn: int) -> Run:
    prompts = random_prompts(core.info.vocab_size, TURNS_AT_1 if batch == 1 else batch, seed=turn)
    requests = [_noise(prompt.tokens, seed) for seed, prompt in enumerate(prompts)]
    arrivals_s = [60.0 * index for index in range(len(requests))] if batch == 1 else at_once(batch)
    return drive(core, requests, arrivals_s)


def _noise(prompt: tuple[int, ...], seed: int) -> Request:
    params = SamplingParams(temperature=1.0, seed=seed, max_tokens=NUM_TOKENS, ignore_eos=True)
    return Request(request_id=f"calm/{seed}", prompt=prompt, params=params, cache_salt=f"{prompt[:4]}")


def calm_rows(cells: Cells) -> list[dict[str, Any]]:
    """Plain over adaptive time, above 1 where the adaptive engine is faster."""
    rows = []
    for text, batches in cells.having("calm/").items():
        for batch, found in batches.items():
            ratio = bootstrap_ratio(found["seconds"][PLAIN], found["seconds"][OURS])
            rows.append(
                {
                    "text": text,
                    "batch": int(batch),
                    "vs_plain": round(ratio.value, 4),
                    "vs_plain_low": round(ratio.low, 4),
                    "vs_plain_high": round(ratio.high, 4),
                    "accepted_per_token": round(found["accepted_per_token"], 4),
                }
            )
    return rows

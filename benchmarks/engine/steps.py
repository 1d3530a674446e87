"""Decode steps and prefill of every arm, in rounds."""

from __future__ import annotations

import os
import statistics
from typing import Any

from benchmarks.common.arms import Arm, ArmError
from benchmarks.common.cells import Cells
from benchmarks.common.rounds import rotated
from benchmarks.engine.arms import Bench
from benchmarks.engine.models import make, prompts
from benchmarks.engine.protocol import BATCHES, PREFILLS, PROMPT_TOKENS, RUNNER, Protocol, arms_of, model_and_weights


def measure_group(group: str, bench: Bench, cells: Cells, protocol: Protocol) -> None:
    """All rounds of a group that are not in ``cells`` yet; the arms are loaded once."""
    missing = [turn for turn in range(protocol.num_rounds) if cells.get(f"steps/{group}/{turn}") is None]
    if not missing:
        return
    model, weights = model_and_weights(group)
    path = str(make(model, bench.work_dir))
    with bench.loaded(list(arms_of(group)), path=path, weights=weights) as arms:
        warm = [arm for arm in arms.values() if _warm(arm, bench)]
        for turn in missing:
            if not bench.wants(turn):
                break
            cells.put(f"steps/{group}/{turn}", _round(group, turn, warm, bench, protocol))
            print(f"  {group}: round {turn + 1} of {protocol.num_rounds}", flush=True)


def _warm(arm: Arm, bench: Bench) -> bool:
    """Compiles and allocates what only the first call of a shape does."""
    try:
        for batch in BATCHES:
            arm.ask("decode", prompts=prompts(batch, 16, seed=batch), num_steps=2)
    except ArmError as error:
        bench.note(arm.name, str(error))
        return False
    return True


def _round(group: str, turn: int, arms: list[Arm], bench: Bench, protocol: Protocol) -> dict[str, Any]:
    """One value per arm and batch size; the arms of one size are asked one right after the other."""
    found: dict[str, Any] = {"decode_step_ms": {}, "prefill_s": {}, "load_average": os.getloadavg()[0]}
    for batch in BATCHES:
        same = prompts(batch, PROMPT_TOKENS, seed=1000 * turn + batch)
        for arm in rotated(arms, turn):
            try:
                step_ms = arm.ask("decode", prompts=same, num_steps=protocol.num_steps)["step_ms"]
            except ArmError as error:
                bench.note(f"{arm.name} {group} {batch}", str(error))
                continue
            found["decode_step_ms"].setdefault(arm.name, {})[str(batch)] = statistics.median(step_ms)
    if group == "A":
        whole = [arm for arm in rotated(arms, turn) if arm.name != RUNNER]
        for name, (num_prompts, length) in PREFILLS.items():
            found["prefill_s"][name] = _prefill(prompts(num_prompts, length, seed=1000 * turn + 7), whole, bench)
    return found


def _prefill(same: list[list[int]], arms: list[Arm], bench: Bench) -> dict[str, float]:
    seconds = {}
    for arm in arms:
        try:
            seconds[arm.name] = arm.ask("prefill", prompts=same)["seconds"]
        except ArmError as error:
            bench.note(f"{arm.name} prefill", str(error))
    return seconds

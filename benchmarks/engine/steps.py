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
from benchmarks.engine.protocol import BATCHES, PREFILLS, PROMPT_TOKENS, Protocol, arms_of, model_and_weights

RUNNER = "paceline_runner"


def measure_group(group: str, bench: Bench, cells: Cells, protocol: Protocol) -> None:
    """All rounds of a group that are not in ``cells`` yet; the arms are loaded once."""
    missing = [turn for turn in range(protocol.num_rounds) if cells.get(f"steps/{group}/{turn}") is None]
    if not missing:
        return
    model, weights = model_and_weights(group)
    path = str(make(model, bench.work_dir))
    with bench.loaded(list(arms_of(group)), path=path, weights=weights) as arms:
        asked = _views(arms)
        for label, (arm, op) in list(asked.items()):
            if not _warm(label, arm, op, bench):
                del asked[label]
        for turn in missing:
            cells.put(f"steps/{group}/{turn}", _round(group, turn, asked, bench, protocol))
            print(f"  {group}: round {turn + 1} of {protocol.num_rounds}", flush=True)


def _views(arms: dict[str, Arm]) -> dict[str, tuple[Arm, str]]:
    """Label -> who answers and to which question; Paceline answers twice, as an engine and as its bare runner."""
    views = {name: (arm, "decode") for name, arm in arms.items()}
    if "paceline" in arms:
        views[RUNNER] = (arms["paceline"], "decode_runner")
    return views


def _warm(label: str, arm: Arm, op: str, bench: Bench) -> bool:
    """Compiles and allocates what only the first call of a shape does."""
    try:
        for batch in BATCHES:
            arm.ask(op, prompts=prompts(batch, 16, seed=batch), num_steps=2)
    except ArmError as error:
        bench.note(label, str(error))
        return False
    return True


def _round(
    group: str, turn: int, asked: dict[str, tuple[Arm, str]], bench: Bench, protocol: Protocol
) -> dict[str, Any]:
    """One value per arm and batch size; the arms of one size are asked one right after the other."""
    found: dict[str, Any] = {"decode_step_ms": {}, "prefill_s": {}, "load_average": os.getloadavg()[0]}
    for batch in BATCHES:
        same = prompts(batch, PROMPT_TOKENS, seed=1000 * turn + batch)
        for label, (arm, op) in rotated(list(asked.items()), turn):
            try:
                step_ms = arm.ask(op, prompts=same, num_steps=protocol.num_steps)["step_ms"]
            except ArmError as error:
                bench.note(f"{label} {group} {batch}", str(error))
                continue
            found["decode_step_ms"].setdefault(label, {})[str(batch)] = statistics.median(step_ms)
    if group == "A":
        for name, (num_prompts, length) in PREFILLS.items():
            found["prefill_s"][name] = _prefill(prompts(num_prompts, length, seed=1000 * turn + 7), turn, asked, bench)
    return found


def _prefill(same: list[list[int]], turn: int, asked: dict[str, tuple[Arm, str]], bench: Bench) -> dict[str, float]:
    seconds = {}
    for label, (arm, _) in rotated(list(asked.items()), turn):
        if label == RUNNER:
            continue
        try:
            seconds[label] = arm.ask("prefill", prompts=same)["seconds"]
        except ArmError as error:
            bench.note(f"{label} prefill", str(error))
    return seconds

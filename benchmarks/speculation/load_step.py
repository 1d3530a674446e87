"""How the chosen length follows the load: low, then at once high, then low again."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from benchmarks.common.cells import Cells
from benchmarks.speculation.drive import arrivals, at_once, drive
from benchmarks.speculation.engines import Watched, make_core, open_model, open_proposers
from benchmarks.speculation.live import Arms, arm_config
from benchmarks.speculation.protocol import OURS, Protocol
from benchmarks.speculation.workloads import make_prompts
from paceline.llm.request import Delta
from paceline.llm.speculation import Policy

WORKLOAD = "code-high-overlap"
RHOS = (0.2, 1.0, 0.2)
TIMES = (1, 5, 1)  # as many requests as at low load
WINDOW = 16  # steps of the moving mean that settles
LEAST_BAND = 0.25  # tokens
NUM_POINTS = 120
NUM_WARM_UP_PROMPTS = 64


class Step(NamedTuple):
    """One step in which sequences decoded."""

    at_s: float
    num_seqs: int
    num_nodes: int

    @property
    def length(self) -> float:
        """Draft tokens verified per sequence."""
        return self.num_nodes / self.num_seqs


def measure_load_step(arms: Arms, cells: Cells, protocol: Protocol) -> None:
    """An engine of its own, warmed up offline; every step's choice is kept."""
    if cells.get("load_step") is not None:
        return
    config = arm_config(OURS)
    model = open_model(config)
    kept: list[Watched] = []

    def watch(policy: Policy) -> Policy:
        kept.append(Watched(policy))
        return kept[0]

    core = make_core(model, config, open_proposers(model, config), watch)
    warm_up = make_prompts(WORKLOAD, arms, NUM_WARM_UP_PROMPTS, seed=3)
    drive(core, [prompt.request(f"warm-up/{i}", "warm-up") for i, prompt in enumerate(warm_up)], at_once(len(warm_up)))
    times_s, changes_s = _arrivals(protocol, cells.get(f"saturation/{WORKLOAD}")["requests_per_s"])
    prompts = make_prompts(WORKLOAD, arms, len(times_s), seed=2)
    steps: list[Step] = []

    def note(now_s: float, _: list[Delta]) -> None:
        if kept[0].last is not None:
            steps.append(Step(now_s, *kept[0].last))
            kept[0].last = None

    drive(core, [prompt.request(f"step/{i}", "step") for i, prompt in enumerate(prompts)], times_s, note)
    core.close()
    cells.put("load_step", _result(steps, changes_s))


def _arrivals(protocol: Protocol, saturation_per_s: float) -> tuple[list[float], list[float]]:
    """When requests come, and when each phase begins."""
    times_s: list[float] = []
    begins_s: list[float] = []
    for rho, times in zip(RHOS, TIMES, strict=True):
        rate = rho * saturation_per_s
        begin_s = times_s[-1] + 1.0 / rate if times_s else 0.0
        begins_s.append(begin_s)
        times_s += [begin_s + at for at in arrivals(rate, times * protocol.num_step_requests, seed=len(times_s))]
    return times_s, begins_s


def _result(steps: Sequence[Step], begins_s: Sequence[float]) -> dict[str, Any]:
    bounds = [*begins_s, steps[-1].at_s + 1.0]
    phases = [[step for step in steps if low <= step.at_s < high] for low, high in pairwise(bounds)]
    up, down = settling(phases)[1:]
    return {
        "workload": WORKLOAD,
        "phases": [{"rho": rho, "start_s": start_s} for rho, start_s in zip(RHOS, begins_s, strict=True)],
        "steps_to_settle": {"up": up, "down": down},
        "num_steps": [len(phase) for phase in phases],
        "mean_length": [statistics.fmean(step.length for step in phase) for phase in phases],
        "mean_sequences": [statistics.fmean(step.num_seqs for step in phase) for phase in phases],
        "series": _series(steps),
    }


def _series(steps: Sequence[Step]) -> list[dict[str, float]]:
    size = -(-len(steps) // NUM_POINTS)
    groups = [steps[start : start + size] for start in range(0, len(steps), size)]
    return [
        {
            "at_s": round(group[0].at_s, 4),
            "length": round(statistics.fmean(step.length for step in group), 3),
            "num_seqs": round(statistics.fmean(step.num_seqs for step in group), 2),
        }
        for group in groups
    ]


def settling(phases: Sequence[Sequence[Step]]) -> list[int]:
    """Steps from the start of each phase until the chosen length is what it stays at; all of them if it never is.

    The number of sequences itself takes hundreds of steps to follow the load, so a length is compared with the one
    that the controller settles on for as many sequences (mean over the second halves of all phases, by power of two).
    Settled: the mean difference of the last ``WINDOW`` steps, not looking back beyond the change, is within two
    standard deviations of what it is in the second half, and stays there for as many steps again.
    """
    usual = _usual_lengths(phases)
    settled: list[int] = []
    for phase in phases:
        sums = [0.0, *accumulate(step.length - _nearest(usual, step.num_seqs) for step in phase)]
        means = [
            (sums[end] - sums[max(0, end - WINDOW)]) / min(end, WINDOW) for end in range(1, len(sums))
        ]  # of the steps up to each
        later = means[len(means) // 2 :]
        band = max(LEAST_BAND, 2.0 * statistics.pstdev(later)) if later else LEAST_BAND
        settled.append(_first_inside(means, statistics.fmean(later) if later else 0.0, band))
    return settled


def _usual_lengths(phases: Sequence[Sequence[Step]]) -> dict[int, float]:
    """Mean length by the number of binary digits of the number of sequences."""
    lengths = defaultdict(list)
    for phase in phases:
        for step in phase[len(phase) // 2 :]:
            lengths[step.num_seqs.bit_length()].append(step.length)
    return {digits: statistics.fmean(found) for digits, found in lengths.items()}


def _nearest(usual: dict[int, float], num_seqs: int) -> float:
    return usual[min(usual, key=lambda digits: abs(digits - num_seqs.bit_length()))]


def _first_inside(means: Sequence[float], centre: float, band: float) -> int:
    outside = [index for index, mean in enumerate(means) if abs(mean - centre) > band]
    for start in [0, *(index + 1 for index in outside)]:
        if start + WINDOW <= len(means) and not any(start <= index < start + WINDOW for index in outside):
            return start
    return len(means)

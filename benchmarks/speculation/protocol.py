"""What is measured, and how often: the quick form and the full one differ in counts alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WORKLOADS: Final = ("code-high-overlap", "code-low-overlap", "table-questions", "prose")
RHOS: Final = (0.1, 0.25, 0.5, 0.75, 0.9, 1.1)  # of the plain engine's saturation
PLAIN: Final = "plain"
OURS: Final = "paceline"
ORACLE: Final = "oracle"  # knows what will be accepted; in the simulation only
FIXED: Final = ("fixed-1", "fixed-3", "fixed-5", "fixed-7")
BASELINES: Final = ("table", "ema", "smartspec")
SPECULATION: Final = {
    PLAIN: "off",
    **{arm: arm.removeprefix("fixed-") for arm in FIXED},
    **{arm: arm for arm in BASELINES},
    OURS: "auto",
}  # arm -> EngineConfig.speculation
ARMS: Final = tuple(SPECULATION)
MAX_NUM_SEQS: Final = 32
KV_MEMORY: Final = 160 * 2**20  # of each engine: 32 sequences of any workload fit, and the prefixes of a run

FORCED_ACCEPTANCES: Final = (0.5, 0.7, 0.9)
FORCED_BATCHES: Final = (1, 8, 32)
FORCED_ARMS: Final = (PLAIN, *FIXED, OURS)
FORCED_PROMPT: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Counts of one form of the benchmark."""

    name: str
    seeds: tuple[int, ...]
    num_requests: int  # counted ones of a live run, at most
    run_s: float | None  # shorten live runs so that the plain engine is busy for about this long; None: never
    num_warm_up: int  # requests at the start of a live run that are not counted
    num_saturation: int  # requests of the offline runs that find the saturation
    num_step_requests: int  # of each phase at low load of the load step; five times as many at high load
    num_calm_rounds: int  # plain and adaptive in turns, on text that cannot be predicted
    num_forced_tokens: int  # of each answer
    num_forced_rounds: int
    num_overhead_steps: int


FULL: Final = Protocol(
    name="full",
    seeds=(0, 1, 2),
    num_requests=100,
    run_s=None,
    num_warm_up=12,
    num_saturation=192,
    num_step_requests=60,
    num_calm_rounds=24,
    num_forced_tokens=160,
    num_forced_rounds=3,
    num_overhead_steps=2000,
)
QUICK: Final = Protocol(
    name="quick",
    seeds=(0,),
    num_requests=64,
    run_s=0.7,
    num_warm_up=8,
    num_saturation=64,
    num_step_requests=30,
    num_calm_rounds=6,
    num_forced_tokens=32,
    num_forced_rounds=1,
    num_overhead_steps=400,
)

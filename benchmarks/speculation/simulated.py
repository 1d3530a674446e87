"""The simulated grid: decoding speed of every policy over none, at a constant number of requests, on published step times.

    PYTHONPATH=src:. python -m benchmarks.speculation.simulated [--full]

Recorded acceptance traces are used where they lie beside the repository, otherwise generated ones.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.speculation.protocol import ORACLE, OURS, PLAIN, SPECULATION
from paceline.llm.simulate.oracle import Oracle
from paceline.llm.simulate.published import served_model
from paceline.llm.simulate.runs import Throughput, constant_batch
from paceline.llm.simulate.traces import MIXED, WORKLOADS, AcceptanceTrace, generate, pick, read_acceptance
from paceline.llm.simulate.virtual import Arm, named_policy

TRACES: Final = Path(__file__).resolve().parents[3] / "shared/data/speculation-traces/llama-3.1-8b.jsonl.gz"
POLICIES: Final[dict[str, Arm]] = {
    **{arm: named_policy(name) for arm, name in SPECULATION.items()},
    ORACLE: Oracle,
}
BATCHES: Final = (1, 8, 32, 64, 128, 256)
MAX_OUTPUT: Final = 1024  # a single answer of many thousands of tokens would outweigh all others
NUM_GENERATED: Final = 1200


class Place(NamedTuple):
    model: str
    device: str
    workload: str
    batches: Sequence[int]


@dataclass(frozen=True, slots=True)
class Form:
    """How many requests begin for each that is served at a time, and the least of them."""

    warm_up: float  # not counted: policies learn
    counted: float
    least_warm_up: int
    least: int
    places: Sequence[Place]


_GOALS: Final = (Place("llama-3.1-8b", "H100", MIXED, BATCHES), Place("llama-3.1-8b", "H100", "instructcoder", (1,)))
QUICK: Final = Form(0.25, 0.5, 12, 40, _GOALS)
FULL: Final = Form(
    1.0,
    2.0,
    32,
    160,
    (
        _GOALS[0],
        *(Place("llama-3.1-8b", "H100", workload, (1, 32, 128)) for workload in WORKLOADS),
        Place("llama-3.1-8b", "H100-graphs", MIXED, (1, 8, 32, 64)),
        Place("llama-3-8b", "A100", MIXED, BATCHES),
        Place("llama-2-7b", "A100", MIXED, (1, 8, 32, 64)),
        Place("llama-2-7b", "H100", MIXED, (1, 8, 32, 64)),
        Place("llama-3.1-70b", "4xH100", MIXED, (1, 32, 128)),
        Place("llama-3.1-70b", "4xA100", MIXED, (1, 32, 128)),
    ),
)


def simulated_rows(form: Form) -> Iterator[dict[str, Any]]:
    """A row for each place, batch and policy: ``speedup`` is tokens per second over those of ``plain``."""
    known = _known_traces()
    for place in form.places:
        for batch in place.batches:
            yield from _rows(place, batch, form, known)


def _rows(place: Place, batch: int, form: Form, known: Sequence[AcceptanceTrace]) -> list[dict[str, Any]]:
    found = {policy: measure(place, batch, policy, form, known) for policy in POLICIES}
    return [
        {
            "model": place.model,
            "device": place.device,
            "workload": place.workload,
            "batch": batch,
            "policy": policy,
            "speedup": round(throughput.tokens_per_s / found[PLAIN].tokens_per_s, 4),
        }
        for policy, throughput in found.items()
    ]


def measure(place: Place, batch: int, policy: str, form: Form, known: Sequence[AcceptanceTrace]) -> Throughput:
    """One cell; every policy serves the same requests in the same order."""
    num_warm_up = max(form.least_warm_up, int(form.warm_up * batch))
    count = num_warm_up + max(form.least, int(form.counted * batch))
    traces, served = pick(known, place.workload, count), served_model(place.model, place.device)
    found = constant_batch(served, traces, batch, POLICIES[policy], num_warm_up=num_warm_up)
    assert found.num_failures == 0, f"{policy} failed {found.num_failures} times on {place}, batch {batch}"
    return found


def _known_traces() -> list[AcceptanceTrace]:
    traces = read_acceptance(TRACES) if TRACES.exists() else generate(MIXED, NUM_GENERATED)
    return [trace.clipped(MAX_OUTPUT) for trace in traces]


def oracle_gaps(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str, str, int], float]:
    """By model, device, workload and batch: what share of the oracle's speed-up ours lacks."""
    found = {(*_place(row), row["policy"]): row["speedup"] for row in rows}
    return {
        place: round(1.0 - found[*place, OURS] / found[*place, ORACLE], 4)
        for place in dict.fromkeys(map(_place, rows))
        if (*place, OURS) in found and (*place, ORACLE) in found
    }


def _place(row: dict[str, Any]) -> tuple[str, str, str, int]:
    return row["model"], row["device"], row["workload"], row["batch"]


def main() -> None:
    form = FULL if "--full" in sys.argv[1:] else QUICK
    for _, group in groupby(simulated_rows(form), key=_place):
        rows = list(group)
        speedups = ", ".join(f"{row['policy']} {row['speedup']:.2f}" for row in rows)
        for place, gap in oracle_gaps(rows).items():
            print(f"{' '.join(map(str, place))}: {speedups}; {100 * gap:.0f} % below the oracle", flush=True)


if __name__ == "__main__":
    main()

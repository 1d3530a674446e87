"""Arms in turns, round by round."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from benchmarks.common.rounds import interleaved


def seconds_of(arms: Mapping[str, Callable[[], object]], num_rounds: int) -> dict[str, list[float]]:
    """Seconds of each arm in each round, after one call of each that does not count."""
    for call in arms.values():
        call()
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for _, name in interleaved(list(arms), num_rounds):
        began = time.perf_counter()
        arms[name]()
        taken[name].append(time.perf_counter() - began)
    return taken

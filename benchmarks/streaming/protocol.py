"""What is measured, and how often: the quick form and the full one differ in counts alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SEEDS: Final = (0, 1, 2)
AGES_S: Final = (
    0.05,
    0.15,
    0.35,
)  # T-max-age 1, 3, 7 of Octopus: there age counts twice a frame, and frames come at 10 Hz
CAP_S: Final = 0.5  # that no output may be older than when it comes out
FEWEST: Final = (
    400  # objects of a log, over all its frames: where next to nothing is to be seen, a share of it says nothing
)
RATE_HZ: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Counts of one form of the benchmark.

    ``rotates``: there are no logs for training alone; a seed is tested on its own logs, and its policy has learned from those of the
    other seeds.
    """

    name: str
    seeds: tuple[int, ...] = SEEDS
    num_train: int  # logs
    num_test: int
    num_visited: int  # logs of training that the policy runs over, to learn from what it then sees
    duration_s: float = 20.0
    rotates: bool = False


QUICK: Final = Protocol(name="quick", num_train=20, num_test=10, num_visited=10, rotates=True)
FULL: Final = Protocol(name="full", num_train=100, num_test=50, num_visited=50)

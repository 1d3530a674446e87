"""What is measured, and how often: the quick form and the full one differ in sizes and counts alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from paceline.transfer.compare import BASELINES, CEILING, FLOOR
from paceline.transfer.fit.options import FitOptions

TARGETS: Final = ("typefaces", "weights", "procedural")
SHOTS: Final = (5, 20, 100)
ALL_METHODS: Final = BASELINES
BEST: Final = "affine_lora"  # what the quick form runs as ours beside ``affine``
GATED: Final = "affine"  # the method whose networks are masked, cut, folded and served

GOAL_TARGET, GOAL_SHOTS, FEW_SHOTS = "typefaces", 100, 5
GOAL_METHODS: Final = (FLOOR, GATED, BEST, CEILING)
MASK_GOAL: Final = 0.1  # share of channels
CUT_GOALS: Final = {0.7: 0.03, 0.5: 0.06}  # share of multiplications, accuracy that may be lost
NUM_MIXED: Final = 8  # adapters in one batch
NUM_TENANTS: Final = 1000  # whose tables are held


class Run(NamedTuple):
    """One method, learned once."""

    target: str
    shots: int
    seed: int
    method: str

    @property
    def name(self) -> str:
        return f"accuracy/{self.target}/{self.shots}/{self.seed}/{self.method}"


class Group(NamedTuple):
    """Runs of one target with so many shots: every method with every seed."""

    target: str
    shots: int
    seeds: tuple[int, ...]
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Sizes and counts of one form of the benchmark."""

    name: str
    groups: tuple[Group, ...]
    epochs: int = FitOptions().epochs
    val_shots: int = 20  # pictures a class to choose by; never more than there are to learn from
    test_shots: int = 100  # pictures a class to judge by, the same for all seeds
    net_shots: int = GOAL_SHOTS  # of the networks that are masked and cut
    net_seeds: tuple[int, ...]
    mask_shares: tuple[float, ...] = (0.1, 0.2, 0.3)
    num_ranked: int  # pictures that say which channels matter
    num_masked: int  # pictures that masked networks are judged on
    cut_shares: tuple[float, ...]
    cut_seeds: tuple[int, ...]
    heal_epochs: int = 8
    planted_seeds: tuple[int, ...]
    num_measured: int = 1024  # pictures that the planted network's norms are measured on
    num_rounds: int  # of interleaved arms
    batch_size: int = 64  # rows that are served at once
    speed_rounds: int
    speed_pictures: int  # learned from in a round
    large_rounds: int
    large_pictures: int
    large_size: int = 224  # pixels
    num_held: int  # of the tenants' tables; bytes of all of them follow

    def runs(self) -> Iterator[Run]:
        """The longest first, so that cores end together; within them all methods of one seed, then of the next."""
        for group in sorted(self.groups, key=lambda group: -group.shots):
            for seed in group.seeds:
                for method in group.methods:
                    yield Run(group.target, group.shots, seed, method)


QUICK: Final = Protocol(
    name="quick",
    groups=(
        Group(GOAL_TARGET, GOAL_SHOTS, (0, 1, 2), GOAL_METHODS),
        Group(GOAL_TARGET, FEW_SHOTS, (0, 1, 2), GOAL_METHODS),
        *(Group(target, FEW_SHOTS, (0,), GOAL_METHODS) for target in TARGETS if target != GOAL_TARGET),
    ),
    net_seeds=(0, 1, 2),
    num_ranked=400,
    num_masked=800,
    cut_shares=(0.7, 0.5),
    cut_seeds=(0,),
    planted_seeds=(0, 1),
    num_rounds=15,
    speed_rounds=4,
    speed_pictures=256,
    large_rounds=6,
    large_pictures=16,
    num_held=100,
)
FULL: Final = Protocol(
    name="full",
    groups=tuple(Group(target, shots, (0, 1, 2, 3, 4), ALL_METHODS) for target in TARGETS for shots in SHOTS),
    net_seeds=(0, 1, 2, 3, 4),
    num_ranked=2000,
    num_masked=2000,
    cut_shares=(0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3),
    cut_seeds=(0, 1, 2),
    planted_seeds=(0, 1, 2, 3, 4),
    num_rounds=61,
    speed_rounds=15,
    speed_pictures=1024,
    large_rounds=9,
    large_pictures=64,
    num_held=NUM_TENANTS,
)

"""One way to run: which detector, and how its boxes become tracks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from paceline.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A row of the table from which a policy chooses.

    ``detector`` names one of a pool; ``max_age_s`` is how long a track lives unseen; detections below ``min_score`` are passed over;
    ``match_iou`` is the least overlap of a detection with its track; with ``forecast`` boxes are moved to the moment for which they are
    asked.
    """

    name: str
    detector: str
    max_age_s: float
    min_score: float = 0.4
    match_iou: float = 0.1
    tracker: str = "sort"
    forecast: bool = False

    def __post_init__(self) -> None:
        for field in ("name", "detector", "tracker"):
            if not getattr(self, field):
                raise ConfigError(f"{field} of a configuration must not be empty")
        if not 0 <= self.max_age_s < math.inf:
            raise ConfigError(f"max_age_s of configuration {self.name!r} must be >= 0, got {self.max_age_s}")
        for field in ("min_score", "match_iou"):
            if not 0 <= getattr(self, field) <= 1:
                raise ConfigError(f"{field} of configuration {self.name!r} must be in 0..1, got {getattr(self, field)}")

    def num_differences(self, other: Configuration) -> int:
        """In how many settings of the tracks the two differ."""
        return sum(
            [
                self.max_age_s != other.max_age_s,
                self.min_score != other.min_score,
                self.match_iou != other.match_iou,
                self.forecast != other.forecast,
            ]
        )


def by_name(configurations: Iterable[Configuration]) -> dict[str, Configuration]:
    """A table of configurations that may follow one another: names differ, and one tracker keeps the tracks of all."""
    table: dict[str, Configuration] = {}
    for configuration in configurations:
        if configuration.name in table:
            raise ConfigError(f"configuration {configuration.name!r} is given twice")
        table[configuration.name] = configuration
    if not table:
        raise ConfigError("no configuration is given; at least one is needed")
    trackers = sorted({configuration.tracker for configuration in table.values()})
    if len(trackers) > 1:
        raise ConfigError(
            f"configurations use the trackers {', '.join(trackers)}; give all the same, so that tracks outlive a switch"
        )
    return table


def grid(
    detectors: Iterable[str], max_ages_s: Iterable[float], *, tracker: str = "sort", forecast: bool = False
) -> tuple[Configuration, ...]:
    """Every detector with every age.

    >>> [configuration.name for configuration in grid(("d3", "d4"), (0.1, 0.3))]
    ['d3-0.1s', 'd3-0.3s', 'd4-0.1s', 'd4-0.3s']
    """
    return tuple(
        Configuration(
            name=f"{detector}-{max_age_s:g}s",
            detector=detector,
            max_age_s=max_age_s,
            tracker=tracker,
            forecast=forecast,
        )
        for detector, max_age_s in product(detectors, max_ages_s)
    )

"""Medians and their bootstrap intervals."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Interval(NamedTuple):
    """A statistic of a sample with the bounds between which it lies at the given confidence."""

    value: float
    low: float
    high: float


def bootstrap(
    samples: Sequence[float],
    statistic: Callable[[Sequence[float]], float] = statistics.median,
    *,
    confidence: float = 0.95,
    num_draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of one sample (Efron 1979).

    >>> bootstrap([3.0, 3.0, 3.0])
    Interval(value=3.0, low=3.0, high=3.0)
    >>> low_high = bootstrap([1.0, 2.0, 3.0, 4.0, 5.0])
    >>> low_high.low <= low_high.value <= low_high.high
    True
    """
    rng = random.Random(seed)
    size = len(samples)
    draws = sorted(statistic(rng.choices(samples, k=size)) for _ in range(num_draws))
    return Interval(statistic(samples), *_percentile_pair(draws, confidence))


def bootstrap_ratio(
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    confidence: float = 0.95,
    num_draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Ratio of medians over rounds that hold one value of each: rounds are drawn, so pairs stay together.

    >>> bootstrap_ratio([2.0, 4.0], [1.0, 2.0]).value
    2.0
    """
    rng = random.Random(seed)
    pairs = list(zip(ours, theirs, strict=True))

    def ratio(chosen: Sequence[tuple[float, float]]) -> float:
        return statistics.median(a for a, _ in chosen) / statistics.median(b for _, b in chosen)

    draws = sorted(ratio(rng.choices(pairs, k=len(pairs))) for _ in range(num_draws))
    return Interval(ratio(pairs), *_percentile_pair(draws, confidence))


def _percentile_pair(draws: Sequence[float], confidence: float) -> tuple[float, float]:
    tail = (1.0 - confidence) / 2.0
    return percentile(draws, tail), percentile(draws, 1.0 - tail)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Linear interpolation between order statistics; ``ordered`` must be ascending.

    >>> percentile([0.0, 10.0], 0.25)
    2.5
    """
    if not ordered:
        raise ValueError("a percentile needs at least one value")
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])

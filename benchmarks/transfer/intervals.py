"""Intervals over seeds and over rounds, as plain JSON values; bounds are None where one sample is all there is."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from typing import TypeAlias

from benchmarks.common.intervals import bootstrap_ratio, percentile
from paceline.transfer.compare import gap_closed, half_width

Bounds: TypeAlias = dict[str, float | None]  # "value", "low" and "high", at 95 %

_NUM_DRAWS = 2000


def mean_interval(values: Sequence[float]) -> Bounds | None:
    """The mean, by Student's t.

    >>> mean_interval([0.5]), mean_interval([])
    ({'value': 0.5, 'low': None, 'high': None}, None)
    """
    if not values:
        return None
    mean, half = statistics.fmean(values), half_width(values)
    return {"value": mean, "low": None if half is None else mean - half, "high": None if half is None else mean + half}


def bootstrap_gap(own: Sequence[float], floor: Sequence[float], ceiling: Sequence[float]) -> Bounds | None:
    """Share of the gap between the means of ``floor`` and ``ceiling`` that the mean of ``own`` closes.

    Seeds are drawn, so that their three values stay together. With few seeds such an interval is too narrow: there is not much to draw.
    """
    if not own:
        return None

    def gap(rows: Sequence[int]) -> float | None:
        means = [statistics.fmean(each[row] for row in rows) for each in (own, floor, ceiling)]
        return gap_closed(*means)

    return _drawn(gap, len(own))


def ratio(above: Sequence[float], below: Sequence[float]) -> Bounds:
    """Of medians over rounds that hold one value of each."""
    return {key: round(value, 4) for key, value in bootstrap_ratio(above, below)._asdict().items()}


def _drawn(statistic: Callable[[Sequence[int]], float | None], size: int) -> Bounds | None:
    value = statistic(range(size))
    if value is None:
        return None
    if size < 2:
        return {"value": value, "low": None, "high": None}
    rng = random.Random(0)
    draws = [statistic(rng.choices(range(size), k=size)) for _ in range(_NUM_DRAWS)]
    ordered = sorted(draw for draw in draws if draw is not None)
    return {"value": value, "low": percentile(ordered, 0.025), "high": percentile(ordered, 0.975)}

"""Figures from records and values; every function is pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ConfigError
from paceline.records import Arrived, Finished, Outcome, Progressed, Record, Rejected, Started

_SECOND = 1e-6  # of a microsecond


def percentile(values: Sequence[float], q: float) -> float:
    """The value below which ``q`` per cent lie, straight lines between ranks; nan of nothing.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 50.0)
    2.5
    """
    return float(np.percentile(values, q)) if len(values) else math.nan


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When the stages of one request were, in microseconds; None for a stage it never reached."""

    id: str
    arrived: int
    deadline: int | None
    started: int | None
    first: int | None  # its first result
    finished: int | None
    num_units: int
    outcome: Outcome | None

    @property
    def ttft_s(self) -> float:
        """Seconds from arrival to the first result; nan without one."""
        return math.nan if self.first is None else (self.first - self.arrived) * _SECOND

    @property
    def tpot_s(self) -> float:
        """Seconds per result after the first; nan with fewer than two."""
        if self.first is None or self.finished is None or self.num_units < 2:
            return math.nan
        return (self.finished - self.first) * _SECOND / (self.num_units - 1)

    @property
    def total_s(self) -> float:
        """Seconds from arrival to the end; nan without one."""
        return math.nan if self.finished is None else (self.finished - self.arrived) * _SECOND


def lifetimes(records: Iterable[Record]) -> list[Lifetime]:
    """One lifetime per request that arrived, in order of arrival; the rejected count as failed."""
    arrivals: dict[str, Arrived] = {}
    started: dict[str, int] = {}
    first: dict[str, int] = {}
    units: dict[str, int] = {}
    ends: dict[str, tuple[int | None, Outcome]] = {}
    for record in records:
        match record:
            case Arrived(id=name):
                arrivals[name] = record
            case Started(at=at, id=name):
                started.setdefault(name, at)
            case Progressed(at=at, id=name, num_units=num_units):
                first.setdefault(name, at)
                units[name] = units.get(name, 0) + num_units
            case Finished(at=at, id=name, outcome=outcome):
                ends[name] = (at, outcome)
            case Rejected(id=name):
                ends[name] = (None, "failed")
    return [
        Lifetime(
            id=name,
            arrived=arrival.at,
            deadline=arrival.deadline,
            started=started.get(name),
            first=first.get(name),
            finished=ends[name][0] if name in ends else None,
            num_units=units.get(name, 0),
            outcome=ends[name][1] if name in ends else None,
        )
        for name, arrival in arrivals.items()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """What a request must keep to count; None asks nothing. A deadline of its own counts always."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    total_s: float | None = None

    def met_by(self, life: Lifetime) -> bool:
        """Whether a request was done, and in time. One result alone has no time per result to miss.

        >>> life = Lifetime("a", 0, None, 10, 50_000, 150_000, 11, "done")
        >>> Slo(ttft_s=0.1, tpot_s=0.01).met_by(life), Slo(total_s=0.1).met_by(life)
        (True, False)
        """
        if life.outcome != "done" or life.finished is None:
            return False
        if life.deadline is not None and life.finished > life.deadline:
            return False
        limits = ((self.ttft_s, life.ttft_s), (self.tpot_s, life.tpot_s), (self.total_s, life.total_s))
        return not any(limit is not None and seconds > limit for limit, seconds in limits)


def slo_attainment(lives: Sequence[Lifetime], slo: Slo) -> float:
    """Share of the requests that arrived that met ``slo``, 0..1; nan of none."""
    return sum(map(slo.met_by, lives)) / len(lives) if lives else math.nan


def goodput(lives: Sequence[Lifetime], slo: Slo, duration_s: float) -> float:
    """Requests that met ``slo`` per second."""
    return sum(map(slo.met_by, lives)) / duration_s


def mean_absolute_percentage_error(predicted: Sequence[float], actual: Sequence[float]) -> float:
    """Mean of |predicted - actual| / actual as a share, 0.1 for 10 %; nan of nothing.

    >>> round(mean_absolute_percentage_error([1.1, 0.9], [1.0, 1.0]), 3)
    0.1
    """
    errors = [abs(guess / truth - 1.0) for guess, truth in zip(predicted, actual, strict=True)]
    return sum(errors) / len(errors) if errors else math.nan


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the bounds that hold it with the stated confidence."""

    low: float
    value: float
    high: float


Statistic = Callable[..., Any]
"""Called as ``statistic(samples, axis=-1)``: np.mean, np.median, ..."""


def bootstrap(
    values: Sequence[float],
    statistic: Statistic = np.mean,
    *,
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Confidence interval of ``statistic`` by the percentile bootstrap; the same for the same seed.

    >>> interval = bootstrap([9.0, 10.0, 11.0, 10.0, 10.0, 9.5, 10.5])
    >>> interval.low < interval.value == 10.0 < interval.high
    True
    """
    if not values:
        raise ConfigError("an interval needs at least one value")
    sample: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    picks = np.random.default_rng(seed).integers(0, len(sample), size=(num_resamples, len(sample)))
    figures = np.asarray(statistic(sample[picks], axis=-1), dtype=np.float64)  # [R, N] -> [R]
    tail = (1.0 - confidence) / 2.0 * 100.0
    low, high = np.percentile(figures, [tail, 100.0 - tail])
    return Interval(float(low), float(statistic(sample, axis=-1)), float(high))

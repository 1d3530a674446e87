"""Figures from records, checked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.errors import ConfigError
from paceline.metrics import (
    Slo,
    bootstrap,
    goodput,
    lifetimes,
    mean_absolute_percentage_error,
    percentile,
    slo_attainment,
)
from paceline.records import Arrived, Finished, Progressed, Record, Rejected, Started

RECORDS: list[Record] = [
    Arrived(at=0, id="good"),
    Arrived(at=0, id="refused"),
    Rejected(at=10, id="refused", reason="queue full"),
    Started(at=1000, id="good"),
    Progressed(at=50_000, id="good", num_units=1),
    Progressed(at=70_000, id="good", num_units=2),
    Arrived(at=60_000, id="late", deadline=100_000),
    Started(at=80_000, id="late"),
    Started(at=85_000, id="late"),
    Finished(at=90_000, id="good"),
    Progressed(at=110_000, id="late", num_units=1),
    Finished(at=120_000, id="late"),
    Arrived(at=130_000, id="open"),
]


def test_lifetimes_hold_the_stages() -> None:
    good, refused, late, unfinished = lifetimes(RECORDS)
    assert (good.ttft_s, good.tpot_s, good.total_s) == pytest.approx((0.05, 0.02, 0.09))
    assert (good.started, good.num_units, good.outcome) == (1000, 3, "done")
    assert (refused.outcome, refused.finished) == ("failed", None)
    assert late.started == 80_000
    assert math.isnan(late.tpot_s)
    assert unfinished.outcome is None
    assert math.isnan(unfinished.total_s)
    assert math.isnan(unfinished.ttft_s)


def test_slo_counts_all_that_arrived() -> None:
    lives = lifetimes(RECORDS)
    assert slo_attainment(lives, Slo()) == 0.25
    assert slo_attainment(lives, Slo(ttft_s=0.04)) == 0.0
    assert slo_attainment(lives, Slo(tpot_s=0.02001)) == 0.25
    assert goodput(lives, Slo(), duration_s=2.0) == 0.5
    assert math.isnan(slo_attainment([], Slo()))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(0.0, 100.0))
def test_percentiles_lie_within(values: list[float], q: float) -> None:
    assert min(values) <= percentile(values, q) <= max(values)
    assert math.isnan(percentile([], q))


def test_bootstrap_is_seeded_and_covers() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(100):
        interval = bootstrap(rng.normal(5.0, 2.0, size=40).tolist(), num_resamples=400, seed=seed)
        hits += interval.low <= 5.0 <= interval.high
    assert 86 <= hits <= 100
    values = [1.0, 2.0, 10.0]
    assert bootstrap(values, np.median, seed=3) == bootstrap(values, np.median, seed=3)
    assert bootstrap(values, np.median).value == 2.0
    with pytest.raises(ConfigError, match="at least one"):
        bootstrap([])


def test_percentage_errors() -> None:
    assert mean_absolute_percentage_error([2.0, 1.0], [1.0, 1.0]) == 0.5
    assert math.isnan(mean_absolute_percentage_error([], []))

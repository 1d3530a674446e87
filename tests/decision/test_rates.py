"""Shares converge, forget, know how sure they are, and lean on the common mean."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.decision import Average, Rate, Rates
from paceline.errors import ConfigError


@given(st.floats(0.05, 0.95), st.integers(0, 500))
def test_a_rate_finds_the_share_and_its_bounds_hold_it(share: float, seed: int) -> None:
    rng = random.Random(seed)
    rate = Rate(decay=0.995)
    for _ in range(3000):
        rate.observe(float(rng.random() < share))
    low, high = rate.bounds(z=4.5)
    assert 0.0 <= low <= share <= high <= 1.0
    assert low <= rate.mean <= high
    assert high - low < 0.35


def test_old_tries_fade() -> None:
    rate = Rate(decay=0.9)
    for _ in range(100):
        rate.observe(4.0, 4.0)
    for _ in range(30):
        rate.observe(0.0, 4.0)
    assert rate.mean < 0.1
    assert rate.tries == pytest.approx(40.0, rel=0.01)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=50))
def test_means_and_bounds_stay_shares(steps: list[tuple[int, int]]) -> None:
    rate, rates = Rate(), Rates[int]()
    for hits, misses in steps:
        rate.observe(hits, hits + misses)
        rates.observe(misses, hits, hits + misses)
    for mean, (low, high) in ((rate.mean, rate.bounds()), (rates.mean(3), rates.bounds(3))):
        assert 0.0 <= low <= mean + 1e-12
        assert mean <= high + 1e-12 <= 1.0 + 2e-12


def test_a_key_seen_seldom_leans_on_the_others() -> None:
    rates = Rates[str](prior=(1.0, 1.0), strength=16.0)
    for _ in range(300):
        rates.observe("usual", 8.0, 10.0)
    rates.observe("rare", 0.0, 4.0)
    assert rates.mean("new") == pytest.approx(0.8, abs=0.02)
    assert 0.55 < rates.mean("rare") < 0.75
    assert rates.tries("rare") == 4.0
    assert rates.tries("new") == 0.0
    wide, narrow = rates.bounds("rare"), rates.bounds("usual")
    assert wide[1] - wide[0] > 3 * (narrow[1] - narrow[0])


def test_keys_unseen_for_longest_are_forgotten() -> None:
    rates = Rates[int](max_keys=2)
    for key in (1, 2, 1, 3):
        rates.observe(key, 1.0)
    assert [rates.tries(key) > 0.0 for key in (1, 2, 3)] == [True, False, True]


def test_an_average_follows_and_knows_its_spread() -> None:
    average = Average(weight=0.05)
    rng = random.Random(3)
    for _ in range(2000):
        average.observe(rng.gauss(5.0, 2.0))
    assert average.mean == pytest.approx(5.0, abs=1.5)
    assert average.std == pytest.approx(2.0, rel=0.4)
    for _ in range(200):
        average.observe(1.0)
    assert average.mean == pytest.approx(1.0, abs=0.01)
    assert average.count == 2200


@pytest.mark.parametrize(
    "make",
    [
        lambda: Rate(prior=(0.0, 0.0)),
        lambda: Rate(decay=0.0),
        lambda: Rates(strength=0.0),
        lambda: Rates(max_keys=0),
        lambda: Average(weight=2.0),
    ],
)
def test_options_are_checked(make: object) -> None:
    with pytest.raises(ConfigError):
        make()  # type: ignore[operator]

"""Rates and exclusions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from paceline.multiplex.isolation import BackOff, TokenBucket, Unlimited


@given(st.floats(0.5, 500.0), st.lists(st.integers(0, 100_000), min_size=1, max_size=200))
def test_no_more_is_taken_than_the_rate_and_one_burst(rate: float, gaps: list[int]) -> None:
    bucket, now, taken = TokenBucket(rate), 0, 0
    for gap in gaps:
        now += gap
        taken += bucket.take(now) == 0.0
    assert taken <= rate * now / 1e6 + max(1.0, rate * 0.25) + 1e-6


@given(st.floats(0.5, 500.0))
def test_whoever_waits_as_told_gets_a_token(rate: float) -> None:
    bucket, now = TokenBucket(rate), 0
    while not (wait_s := bucket.take(now)):
        pass
    assert bucket.take(now + round(wait_s * 1e6) + 1) == 0.0


def test_no_rate_is_no_bound() -> None:
    assert not any(Unlimited().take(0) for _ in range(1000))


def test_an_exclusion_doubles_up_to_its_limit_and_starts_short_after_good_times() -> None:
    trouble, lengths, now = BackOff(first_s=1.0, last_s=5.0), [], 0
    for _ in range(4):
        trouble.begin(now)
        lengths.append(trouble.left_s(now))
        now = trouble.until
    trouble.clear()
    trouble.begin(now)
    assert [*lengths, trouble.left_s(now)] == [1.0, 2.0, 4.0, 5.0, 1.0]

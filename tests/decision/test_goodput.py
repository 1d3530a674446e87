"""The chooser: never late when it need not be, never fickle."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.decision import Option, Steady, best
from paceline.errors import ConfigError

options_of = st.lists(
    st.builds(
        Option[int],
        value=st.integers(0, 20),
        useful_work=st.floats(0.0, 100.0),
        seconds=st.floats(1e-6, 10.0) | st.just(math.inf) | st.just(math.nan),
        margin_s=st.floats(0.0, 1.0),
    ),
    min_size=1,
    max_size=9,
    unique_by=lambda option: option.value,
)


@given(options_of, st.floats(0.0, 10.0) | st.just(math.inf), st.none() | st.integers(0, 20), st.floats(0.0, 0.5))
def test_in_time_if_possible_and_no_worse_than_the_gain_allows(
    options: list[Option[int]], slack_s: float, incumbent: int | None, min_gain: float
) -> None:
    choice = best(options, slack_s, incumbent, min_gain)
    in_time = [option for option in options if option.meets(slack_s)]
    assert choice.meets_deadline == bool(in_time)
    assert not in_time or choice.option in in_time
    most = max((option.goodput for option in in_time), default=0.0)
    if choice.reason == "best":
        assert choice.option.goodput == most
    elif choice.reason == "kept":
        assert choice.value == incumbent
        assert most <= choice.option.goodput * (1.0 + min_gain)


def test_the_first_of_equals_wins() -> None:
    assert best([Option("a", 1.0, 1.0), Option("b", 2.0, 2.0)]).value == "a"


def test_the_incumbent_stays_until_beaten_by_enough_or_late() -> None:
    options = [Option(0, 100.0, 1.0), Option(1, 102.0, 1.0), Option(2, 104.0, 1.0)]
    assert best(options[:2], incumbent=0).reason == "kept"
    assert best(options, incumbent=0).value == 2
    assert best(options, incumbent=7).value == 2
    assert best([Option(0, 9.0, 2.0), Option(1, 1.0, 0.5)], slack_s=1.0, incumbent=0).value == 1


def test_nothing_in_time_takes_the_soonest() -> None:
    options = [Option("long", 9.0, 3.0), Option("nan", 9.0, math.nan), Option("short", 0.1, 2.0)]
    choice = best(options, slack_s=1.0)
    assert (choice.value, choice.reason, choice.meets_deadline) == ("short", "late", False)


def test_the_margin_counts_against_the_deadline_only() -> None:
    risky, safe = Option("risky", 10.0, 0.9, margin_s=0.2), Option("safe", 5.0, 0.9)
    assert best([risky, safe], slack_s=1.0).value == "safe"
    assert best([risky, safe], slack_s=2.0).value == "risky"


@pytest.mark.parametrize("work", [math.nan, math.inf])
def test_a_prediction_that_is_no_number_is_worth_nothing(work: float) -> None:
    assert best([Option("odd", work, 1.0), Option("sound", 1.0, 1.0)]).value == "sound"


def test_steady_dwells_then_wants_a_gain() -> None:
    steady = Steady[int](min_gain=0.05, dwell=3)
    flat = [Option(0, 100.0, 1.0), Option(1, 104.0, 1.0)]
    better = [Option(0, 100.0, 1.0), Option(1, 120.0, 1.0)]
    assert steady.choose(flat[:1]).value == 0
    assert [steady.choose(better).value for _ in range(3)] == [0, 0, 1]
    assert [steady.choose([Option(0, 200.0, 1.0), better[1]]).value for _ in range(3)] == [1, 1, 0]
    for _ in range(10):
        assert steady.choose(flat).value == 0


def test_steady_leaves_at_once_when_late_or_told_to() -> None:
    steady = Steady[str](dwell=100)
    long, short = Option("long", 10.0, 1.0), Option("short", 1.0, 0.2)
    assert steady.choose([long, short]).value == "long"
    assert steady.choose([long, short], slack_s=0.5).value == "short"
    assert steady.choose([long, short]).reason == "dwell"
    steady.forget()
    assert steady.choose([long, short]).value == "long"
    assert steady.choose([short]).value == "short"


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError):
        Steady(min_gain=-1.0)
    with pytest.raises(ConfigError):
        Steady(dwell=0)
    with pytest.raises(AssertionError):
        best([])

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from paceline.streaming.sources.timeline import LEAP_US, Timeline

GAP = 100_000


def place(times: list[int | None]) -> list[int | None]:
    line = Timeline(GAP)
    return [line.place(time) for time in times]


def test_times_count_from_the_first_picture() -> None:
    assert place([5_000_000, 5_100_000, 5_333_000]) == [0, 100_000, 333_000]


def test_pictures_without_a_time_are_evenly_spaced() -> None:
    assert place([None, None, None]) == [0, 100_000, 200_000]


def test_a_late_picture_is_dropped_and_the_next_one_is_not() -> None:
    assert place([0, 100_000, 50_000, 200_000]) == [0, 100_000, None, 200_000]


def test_a_clock_set_back_or_forth_costs_no_picture() -> None:
    assert place([0, 100_000, -9_000_000, -8_900_000]) == [0, 100_000, 200_000, 300_000]
    assert place([0, 100_000, 9_000_000, 9_100_000]) == [0, 100_000, 200_000, 300_000]


def test_rare_pictures_are_no_leap() -> None:
    line = Timeline(2_000_000)
    assert [line.place(time) for time in (0, 2_000_000, 6_000_000)] == [0, 2_000_000, 6_000_000]


def test_a_clock_that_stands_still_is_given_up_after_a_second() -> None:
    placed = place([0] * 15)
    assert placed[0] == 0
    assert placed[1:10] == [None] * 9
    assert placed[10:] == [100_000, 200_000, 300_000, 400_000, 500_000]


def test_lost_pictures_take_their_time_where_no_clock_tells() -> None:
    line = Timeline(GAP)
    line.place(None)
    line.lose()
    assert line.place(None) == 200_000


@given(st.lists(st.none() | st.integers(-(2**62), 2**62) | st.integers(0, 3_000_000), max_size=60))
def test_whatever_the_file_says_time_rises_and_goes_on(times: list[int | None]) -> None:
    placed = place(times)
    told = [time for time in placed if time is not None]
    assert all(0 < later - sooner <= LEAP_US for sooner, later in pairwise(told))
    silent = 0
    for time in placed:
        silent = silent + 1 if time is None else 0
        assert silent * GAP < LEAP_US

"""Time in integer microseconds that never goes back."""

from __future__ import annotations

import pytest

from paceline.clock import Clock, VirtualClock, WallClock, to_microseconds, to_seconds


def test_the_wall_clock_is_monotonic() -> None:
    clock: Clock = WallClock()
    times = [clock.now() for _ in range(100)]
    assert times == sorted(times)
    assert isinstance(times[0], int)


def test_virtual_time_passes_when_told_to_and_never_back() -> None:
    clock = VirtualClock(10)
    clock.advance(5)
    clock.set(15)
    assert clock.now() == 15
    with pytest.raises(AssertionError, match="run back"):
        clock.set(14)


def test_seconds_round_to_the_nearest_microsecond() -> None:
    assert to_microseconds(0.1 + 0.2) == 300_000
    assert to_seconds(to_microseconds(1.25)) == 1.25

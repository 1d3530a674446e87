"""Any scheduler runs in virtual time, the same way every time."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.clock import VirtualClock
from paceline.scheduling import Wait
from paceline.sim import Arrival, every, replay

Group = tuple[str, ...]


class Window:
    """Groups what arrives: launches a full group at once, any other when its first item has waited."""

    def __init__(self, hold: int, max_group: int) -> None:
        self.hold, self.max_group = hold, max_group
        self.waiting: list[tuple[int, str]] = []
        self.launched: list[tuple[int, int]] = []
        self.ended: list[tuple[int, Group]] = []

    def submit(self, item: str, now: int) -> None:
        self.waiting.append((now, item))

    def schedule(self, now: int) -> Group | Wait:
        if not self.waiting:
            return Wait()
        first = self.waiting[0][0]
        if len(self.waiting) < self.max_group and now < first + self.hold:
            return Wait(first + self.hold)
        group, self.waiting = self.waiting[: self.max_group], self.waiting[self.max_group :]
        self.launched.append((now, len(group)))
        return tuple(item for _, item in group)

    def commit(self, plan: Group, result: None, now: int) -> None:
        self.ended.append((now, plan))


def test_a_window_waits_then_launches_full_groups() -> None:
    window = Window(hold=10_000, max_group=4)
    replay(window, every(0.002, "abcdefgh"), lambda group: (0.001, None))
    assert window.launched == [(6000, 4), (14_000, 4)]
    assert window.ended[-1] == (15_000, ("e", "f", "g", "h"))


def test_an_alarm_launches_what_waited_long_enough() -> None:
    window = Window(hold=3000, max_group=4)
    clock = VirtualClock()
    result = replay(window, every(0.002, "abc"), lambda group: (0.0005, None), clock=clock)
    assert window.launched == [(3000, 2), (7000, 1)]
    assert (result.end, result.busy, result.num_plans) == (7500, 1000, 2)
    assert clock.now() == 7500
    assert result.utilisation == pytest.approx(1000 / 7500)


def test_what_arrives_while_the_device_is_busy_keeps_its_time() -> None:
    window = Window(hold=0, max_group=8)
    replay(window, every(0.001, "abcd"), lambda group: (0.0025, None))
    assert window.launched == [(0, 1), (2500, 2), (5000, 1)]


def test_arrivals_of_one_moment_are_one_group() -> None:
    window = Window(hold=0, max_group=8)
    replay(window, [Arrival(5, "a"), Arrival(5, "b")], lambda group: (0.001, None))
    assert window.launched == [(5, 2)]


def test_an_endless_stream_ends_at_until() -> None:
    window = Window(hold=0, max_group=1)
    result = replay(window, every(0.001, itertools.repeat("a")), lambda group: (0.0001, None), until=10_000)
    assert len(window.launched) == 11
    assert result.end == 10_000


def test_nothing_takes_no_time() -> None:
    assert replay(Window(0, 1), [], lambda group: (1.0, None)).utilisation == 0.0


def test_a_wait_that_is_none_is_caught() -> None:
    class Restless(Window):
        def schedule(self, now: int) -> Group | Wait:
            return Wait(now)

    with pytest.raises(AssertionError, match="no wait"):
        replay(Restless(0, 1), every(1.0, "a"), lambda group: (1.0, None))


@given(st.lists(st.integers(0, 3000), max_size=40), st.integers(0, 5000), st.integers(1, 5), st.floats(0.0, 0.004))
def test_every_item_is_served_once_and_days_repeat(gaps: list[int], hold: int, size: int, seconds: float) -> None:
    times = list(itertools.accumulate(gaps))

    def day() -> Window:
        window = Window(hold, size)
        replay(window, [Arrival(at, str(i)) for i, at in enumerate(times)], lambda group: (seconds, None))
        return window

    window = day()
    assert [item for _, group in window.ended for item in group] == [str(i) for i in range(len(times))]
    assert day().ended == window.ended

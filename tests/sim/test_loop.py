"""Events run in order of time, rank and submission."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.clock import VirtualClock
from paceline.sim import EventLoop


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=30))
def test_order_is_time_rank_submission(events: list[tuple[int, int]]) -> None:
    loop = EventLoop()
    seen: list[tuple[int, int, int]] = []
    for number, (time, rank) in enumerate(events):
        loop.at(time, lambda event=(time, rank, number): seen.append(event), rank=rank)  # type: ignore[misc]
    loop.run()
    assert seen == sorted(seen)
    assert len(seen) == len(events)


def test_actions_may_add_events_also_for_now() -> None:
    loop = EventLoop(VirtualClock(100))
    seen: list[str] = []

    def first() -> None:
        seen.append("first")
        loop.at(100, lambda: seen.append("now"))
        loop.at(150, lambda: seen.append("later"))

    loop.at(100, first)
    assert loop.step()
    assert seen == ["first", "now"]
    assert not loop.step(until=149)
    assert loop.step()
    assert not loop.step()
    with pytest.raises(AssertionError, match="has passed"):
        loop.at(120, first)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.errors import ConfigError
from paceline.streaming.sources.link import Link, Patience

SECOND = 1_000_000


def test_waits_double_up_to_the_longest_and_a_picture_resets_them() -> None:
    link = Link(Patience(first_wait_s=1, longest_wait_s=4, give_up_s=1000), now=0)
    now, waits = 0, []
    for _ in range(5):
        link.start(now)
        link.fail("refused", now)
        waits.append(link.next_check() - now)
        now = link.next_check()
        assert link.due(now)
        assert not link.due(now - 1)
    assert waits == [SECOND * wait for wait in (1, 2, 4, 4, 4)]
    link.start(now)
    link.live(now)
    link.fail("cut", now)
    assert link.next_check() - now == SECOND


def test_silence_is_a_stall_and_opening_may_take_longer() -> None:
    link = Link(Patience(stall_s=1, open_s=5), now=0)
    link.start(now=0)
    assert not link.stalled(now=4 * SECOND)
    assert link.stalled(now=5 * SECOND)
    link.live(now=4 * SECOND)
    assert not link.stalled(now=5 * SECOND - 1)
    assert link.stalled(now=5 * SECOND)


def test_long_silence_is_the_end() -> None:
    link = Link(Patience(give_up_s=30), now=0)
    link.start(now=0)
    link.live(now=10 * SECOND)
    assert not link.lost(now=40 * SECOND - 1)
    assert link.lost(now=40 * SECOND)


def test_patience_is_checked() -> None:
    with pytest.raises(ConfigError, match="stall_s must be above 0"):
        Patience(stall_s=0)


@given(st.lists(st.booleans(), max_size=200))
def test_a_camera_that_never_answers_is_given_up(opens: list[bool]) -> None:
    """Whatever fails when, each check comes later than the one before, and the end comes in time."""
    link = Link(Patience(give_up_s=30), now=0)
    now = 0
    for opens_at_all in opens:
        if link.lost(now):
            assert now >= 30 * SECOND
            return
        if link.due(now):
            link.start(now)
            if not opens_at_all:
                link.fail("refused", now)
        elif link.stalled(now):
            link.fail("stalled", now)
        assert link.next_check() > now
        assert link.next_check() <= 30 * SECOND
        now = link.next_check()

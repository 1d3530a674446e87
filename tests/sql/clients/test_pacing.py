"""Pacing in virtual time: no server, no clock, no sleep."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.clock import to_microseconds
from paceline.errors import ConfigError
from paceline.scheduling import Wait
from paceline.sql.clients.pacing import Outcome, Pacer, PacingOptions, Send

Behaviour = Callable[[Send, int], tuple[float, Outcome, float | None]]
"""What becomes of a request sent at a time (µs): seconds until it ends, how, and Retry-After."""

PROMPT_CHARS = 1000


class Run:
    """Drives a pacer against servers that are functions."""

    def __init__(self, pacer: Pacer, shared: list[int], behaviour: Behaviour, *, until_s: float = 1e5) -> None:
        for number, joint in enumerate(shared):
            pacer.submit(number, num_chars=PROMPT_CHARS, shared=joint)
        self.answered: dict[int, int] = {}  # number: lane
        self.sends: list[tuple[int, Send]] = []  # in order of time
        self.now = 0
        self.most_in_flight = 0
        flying: list[tuple[int, Send, Outcome, float | None]] = []
        while len(self.answered) < len(shared) and self.now < to_microseconds(until_s):
            plan = pacer.schedule(self.now)
            if not isinstance(plan, Wait):
                for send in plan:
                    seconds, outcome, retry = behaviour(send, self.now)
                    heapq.heappush(flying, (self.now + to_microseconds(seconds), send, outcome, retry))
                    self.sends.append((self.now, send))
                self.most_in_flight = max(self.most_in_flight, len(flying))
                continue
            assert flying or plan.until is not None, "it would wait for ever"
            if not flying or (plan.until is not None and plan.until < flying[0][0]):
                assert plan.until is not None
                assert plan.until > self.now, "time stands still"
                self.now = plan.until
                continue
            self.now, send, outcome, retry = heapq.heappop(flying)
            if outcome is Outcome.ANSWERED:
                assert send.number not in self.answered
                self.answered[send.number] = send.lane
            pacer.commit(send, outcome, self.now, again=outcome is not Outcome.ANSWERED, retry_after_s=retry)


def well(send: Send, now: int) -> tuple[float, Outcome, float | None]:
    return 1.0, Outcome.ANSWERED, None


def test_the_window_grows_to_its_limit_and_never_beyond() -> None:
    run = Run(Pacer(1, PacingOptions(max_window=20)), [0] * 200, well)
    assert run.most_in_flight == 20
    first = [now for now, _ in run.sends].count(0)
    assert first == PacingOptions().first_window
    assert [send.number for _, send in run.sends] == list(range(200))


def test_a_busy_server_gets_a_smaller_window() -> None:
    """It takes 10 at a time and refuses the rest at once."""
    ends: list[int] = []

    def small(send: Send, now: int) -> tuple[float, Outcome, float | None]:
        ends[:] = [end for end in ends if end > now]
        if len(ends) >= 10:
            return 0.01, Outcome.BUSY, None
        ends.append(now + to_microseconds(1.0))
        return 1.0, Outcome.ANSWERED, None

    run = Run(Pacer(1, PacingOptions(max_window=64), seed=0), [0] * 1000, small)
    refused = len(run.sends) - 1000
    assert refused < 250
    assert run.now < to_microseconds(1000 / 10 * 2)


def test_retry_after_is_honoured() -> None:
    told = False

    def once(send: Send, now: int) -> tuple[float, Outcome, float | None]:
        nonlocal told
        if send.number == 3 and not told:
            told = True
            return 0.5, Outcome.BUSY, 30.0
        return 1.0, Outcome.ANSWERED, None

    run = Run(Pacer(1, PacingOptions(), seed=0), [0] * 100, once)
    resume = to_microseconds(30.5)
    assert not [now for now, _ in run.sends if to_microseconds(0.5) < now < resume]
    assert next(send.number for now, send in run.sends if now >= resume) == 3


def test_followers_wait_for_their_leader_and_others_do_not() -> None:
    pacer = Pacer(1, PacingOptions(first_window=8), seed=0)
    for number, shared in enumerate([0, 900, 900, 100, 900]):
        pacer.submit(number, num_chars=PROMPT_CHARS, shared=shared)
    assert pacer.schedule(0) == (Send(0, 0), Send(3, 0))
    pacer.commit(Send(0, 0), Outcome.ANSWERED, 1)
    assert pacer.schedule(1) == (Send(1, 0), Send(2, 0))
    pacer.commit(Send(3, 0), Outcome.BROKEN, 2, again=True)
    assert pacer.schedule(2) == (Send(4, 0),)  # its leader pauses, so it leads


def test_a_follower_waits_for_the_nearest_of_its_leaders() -> None:
    pacer = Pacer(1, PacingOptions(), seed=0)
    for number, shared in enumerate([0, 400, 800]):
        pacer.submit(number, num_chars=PROMPT_CHARS, shared=shared)
    for now in range(3):
        plan = pacer.schedule(now)
        assert plan == (Send(now, 0),)
        pacer.commit(Send(now, 0), Outcome.ANSWERED, now)


def test_nobody_waits_long_for_a_leader_that_hangs() -> None:
    def first_hangs(send: Send, now: int) -> tuple[float, Outcome, float | None]:
        return (120.0 if send.number == 0 else 1.0), Outcome.ANSWERED, None

    run = Run(Pacer(1, PacingOptions(hold_s=10.0), seed=0), [0, *[900] * 19], first_hangs)
    assert [now for now, send in run.sends if send.number == 1] == [to_microseconds(10)]
    assert max(now for now, _ in run.sends) < to_microseconds(15)


def test_groups_keep_to_a_server() -> None:
    shared = [0 if number % 20 == 0 else 900 for number in range(400)]
    run = Run(Pacer(4, PacingOptions(), seed=0), shared, well)
    cut = sum(run.answered[n] != run.answered[n - 1] for n in range(20, 400) if n % 20)
    per_lane = [list(run.answered.values()).count(lane) for lane in range(4)]
    assert cut <= 12
    assert min(per_lane) >= 60


def test_a_group_of_all_is_cut_rather_than_left_to_one_server() -> None:
    run = Run(Pacer(4, PacingOptions(), seed=0), [0] + [900] * 399, well)
    assert min(list(run.answered.values()).count(lane) for lane in range(4)) >= 50


def test_a_server_that_is_down_is_probed_and_comes_back() -> None:
    def outage(send: Send, now: int) -> tuple[float, Outcome, float | None]:
        if to_microseconds(5) <= now < to_microseconds(60):
            return 0.001, Outcome.UNREACHED, None
        return 1.0, Outcome.ANSWERED, None

    run = Run(Pacer(1, PacingOptions(), seed=0), [0] * 500, outage)
    during = [now for now, _ in run.sends if to_microseconds(7) <= now < to_microseconds(60)]
    assert 1 <= len(during) <= 15
    assert min(now for now, _ in run.sends if now >= to_microseconds(60)) < to_microseconds(95)


def test_one_server_down_costs_few_tries() -> None:
    def first_is_down(send: Send, now: int) -> tuple[float, Outcome, float | None]:
        return (0.001, Outcome.UNREACHED, None) if send.lane == 0 else (1.0, Outcome.ANSWERED, None)

    run = Run(Pacer(3, PacingOptions(), seed=0), [0] * 300, first_is_down)
    assert set(run.answered.values()) == {1, 2}
    assert len(run.sends) < 330


def test_clear_forgets_requests_but_not_servers() -> None:
    pacer = Pacer(1, PacingOptions(first_window=2), seed=0)
    Run(pacer, [0] * 50, well)
    pacer.submit(0, num_chars=10, shared=0)
    pacer.clear()
    assert pacer.schedule(0) == Wait(None)
    for number in range(30):
        pacer.submit(number, num_chars=10, shared=0)
    plan = pacer.schedule(0)
    assert not isinstance(plan, Wait)
    assert len(plan) > 10


@settings(deadline=None)
@given(
    num_lanes=st.integers(1, 4),
    shared=st.lists(st.sampled_from([0, 100, 300, 900]), min_size=1, max_size=60),
    seed=st.integers(0, 10**6),
    trouble=st.floats(0.0, 0.6),
)
def test_everything_is_answered_once_whatever_goes_wrong(
    num_lanes: int, shared: list[int], seed: int, trouble: float
) -> None:
    dice = random.Random(seed)

    def behaviour(send: Send, now: int) -> tuple[float, Outcome, float | None]:
        if dice.random() >= trouble:
            return dice.uniform(0.1, 2.0), Outcome.ANSWERED, None
        outcome = dice.choice([Outcome.BUSY, Outcome.LATE, Outcome.BROKEN, Outcome.UNREACHED])
        return dice.uniform(0.0, 3.0), outcome, dice.choice([None, 1.0]) if outcome is Outcome.BUSY else None

    run = Run(Pacer(num_lanes, PacingOptions(max_window=8), seed), [0, *shared[1:]], behaviour)
    assert sorted(run.answered) == list(range(len(shared)))
    assert run.most_in_flight <= 8 * num_lanes


@pytest.mark.parametrize("name", ["max_window", "first_window", "hold_chars", "failures_to_open"])
def test_wrong_options_are_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be >= 1, got 0"):
        PacingOptions(**{name: 0})

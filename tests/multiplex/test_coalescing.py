"""Which launch comes next, who is in it, and when it is better to wait."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.errors import ConfigError, RejectedError
from paceline.multiplex import coalescing
from paceline.multiplex.request import BundleResult, Plan
from paceline.multiplex.simulate import LaunchTime
from paceline.multiplex.window import Window
from paceline.scheduling import Wait
from tests.multiplex.windows import TIME, many, plan, run, spec, submit, window


def names(launch: Plan) -> list[str]:
    return [request.tenant for request in launch.members]


def pairs(keys: Sequence[str]) -> Window:
    return window(*[each for key in keys for each in many(4, key)])


def test_all_who_fit_are_launched_together_in_the_order_of_registration() -> None:
    busy = window(*many(4))
    for name in ("f2", "f0", "f3", "f1"):
        submit(busy, name)
    launch = plan(busy)
    assert names(launch) == ["f0", "f1", "f2", "f3"]
    assert (launch.num_slots, launch.rows_each, launch.reason) == (4, 1, "only")
    assert launch.predicted_s == pytest.approx(TIME.seconds(4, 1), rel=0.05)


def test_max_group_bounds_a_launch_and_the_most_urgent_are_in_it() -> None:
    busy = window(*many(4), max_group=2)
    for place, deadline in enumerate((9000, 3000, 8000, 4000)):
        submit(busy, f"f{place}", deadline=deadline)
    assert names(plan(busy)) == ["f1", "f3"]


def test_max_group_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="max_group"):
        window(max_group=0)


def test_launches_of_different_segments_are_never_joined() -> None:
    busy = pairs(["f", "g"])
    for name in ("f0", "g0", "f1", "g1"):
        submit(busy, name)
    plans, _ = run(busy)
    assert sorted(names(launch) for launch in plans) == [["f0", "f1"], ["g0", "g1"]]


def test_the_lane_that_finishes_most_per_second_goes_first_while_the_most_urgent_can_wait() -> None:
    busy = pairs(["f", "g"])
    submit(busy, "g0", deadline=5_000)
    for place in range(4):
        submit(busy, f"f{place}", deadline=9_000)
    first = plan(busy)
    assert (first.segment_key, first.reason) == ("f", "gain")


def test_the_most_urgent_goes_first_when_it_cannot_wait() -> None:
    busy = pairs(["f", "g"])
    submit(busy, "g0", deadline=400)
    for place in range(4):
        submit(busy, f"f{place}", deadline=9_000)
    first = plan(busy)
    assert (names(first), first.reason) == (["g0"], "urgent")


def test_half_of_the_time_that_is_left_is_kept_for_surprises() -> None:
    busy = pairs(["f", "g"])
    submit(busy, "g0", deadline=630)
    for place in range(4):
        submit(busy, f"f{place}", deadline=9_000)
    assert TIME.seconds(1, 1) + TIME.seconds(4, 1) < 630e-6
    assert names(plan(busy)) == ["g0"]


def test_wide_requests_do_not_make_the_launches_of_others_long() -> None:
    busy = window(*many(4), time=LaunchTime(100e-6, 1e-6, 10e-6))
    submit(busy, "f0", deadline=5_000)
    submit(busy, "f1", deadline=6_000)
    submit(busy, "f2", rows=16, deadline=7_000)
    plans, _ = run(busy)
    assert [names(launch) for launch in plans] == [["f0", "f1"], ["f2"]]


def test_nor_do_they_where_joining_would_save_time() -> None:
    busy = window(*many(2), time=LaunchTime(300e-6, 1e-6, 10e-6))
    submit(busy, "f0", deadline=5_000)
    submit(busy, "f1", rows=16, deadline=6_000)
    plans, _ = run(busy)
    assert [names(launch) for launch in plans] == [["f0"], ["f1"]]


def test_narrow_requests_do_not_join_where_their_padding_costs_more_than_it_saves() -> None:
    busy = window(*many(4), time=LaunchTime(10e-6, 1e-6, 10e-6))
    submit(busy, "f0", rows=16, deadline=5_000)
    submit(busy, "f1", deadline=6_000)
    plans, _ = run(busy)
    assert [names(launch) for launch in plans] == [["f0"], ["f1"]]


def test_requests_of_one_tenant_share_a_slot() -> None:
    busy = window(*many(2))
    for _ in range(3):
        submit(busy, "f0")
    launch = plan(busy)
    assert (names(launch), launch.num_slots, launch.rows_each) == (["f0"] * 3, 1, 4)


def test_one_tenants_queue_does_not_make_the_launch_of_others_long() -> None:
    time = LaunchTime(100e-6, 1e-6, 5e-6)
    busy = window(*many(4), time=time)
    for place in (1, 2, 3):
        submit(busy, f"f{place}")
    for _ in range(16):
        submit(busy, "f0")
    launch = plan(busy)
    assert (launch.num_slots, launch.rows_each, len(launch.members)) == (4, 2, 5)
    assert launch.predicted_s <= 1.25 * time.seconds(4, 1) < time.seconds(4, 4)


def test_padding_is_filled_with_what_waits() -> None:
    busy = window(*many(2))
    submit(busy, "f0", rows=4)
    for _ in range(4):
        submit(busy, "f1")
    launch = plan(busy)
    assert (names(launch), launch.rows_each) == (["f0", "f1", "f1", "f1", "f1"], 4)


def test_a_slot_holds_no_more_rows_than_its_tenant_may_have() -> None:
    busy = window(*many(1, max_rows=3))
    for _ in range(8):
        submit(busy, "f0")
    plans, _ = run(busy)
    assert max(len(launch.members) for launch in plans) <= 3


def test_a_model_that_cannot_be_joined_gets_one_request_a_launch() -> None:
    busy = window(*many(3, stackable=False))
    for name in ("f0", "f0", "f1", "f2"):
        submit(busy, name)
    plans, _ = run(busy)
    assert [len(launch.members) for launch in plans] == [1, 1, 1, 1]


def test_the_urgent_go_first_in_a_small_group_if_the_others_can_wait() -> None:
    busy = window(*many(16))
    submit(busy, "f0", deadline=220)
    for place in range(1, 16):
        submit(busy, f"f{place}", deadline=20_000)
    plans, _ = run(busy)
    assert [len(launch.members) for launch in plans] == [1, 15]
    assert all(request.in_time for launch in plans for request in launch.members)


def test_when_there_is_not_enough_for_all_those_who_cost_most_are_given_up() -> None:
    busy = window(*many(16))
    for place in range(16):
        submit(busy, f"f{place}", deadline=250 if place == 0 else 450)
    plans, now = run(busy)
    assert [len(launch.members) for launch in plans] == [15]
    assert [(request.tenant, request.outcome) for request in busy.expired(now)] == [("f0", "late")]


def test_layers_of_one_depth_join_layers_of_another() -> None:
    deep = [spec(f"t{place}", segments=("layer", "layer"), slo_s=0.1) for place in range(2)]
    busy = window(*deep)
    submit(busy, "t0")
    first = plan(busy)
    busy.commit(first, BundleResult(210e-6), 210)
    submit(busy, "t1", now=210)
    second = plan(busy, 210)
    assert [(request.tenant, request.segment) for request in second.members] == [("t0", 1), ("t1", 0)]
    assert second.num_slots == 2


def test_one_tenant_at_two_depths_takes_two_slots() -> None:
    busy = window(spec("t", segments=("layer", "layer"), slo_s=0.1))
    submit(busy, "t")
    busy.commit(plan(busy), BundleResult(210e-6), 210)
    submit(busy, "t", now=210)
    assert plan(busy, 210).num_slots == 2


# ── waiting for more ────────────────────────────────────────────────────────────────────────────


def frequent(busy: Window, num: int = 40, gap: int = 20, start: int = 0) -> int:
    """Teaches the window that something comes every ``gap`` microseconds; the time after that, with nothing left."""
    for number in range(num):
        submit(busy, f"f{number % 16}", now=start + number * gap)
    return run(busy, start + num * gap)[1]


def test_a_launch_is_held_for_those_who_are_expected_soon() -> None:
    busy = window(*many(16))
    now = frequent(busy) + 100
    submit(busy, "f0", now=now)
    decision = busy.schedule(now)
    assert isinstance(decision, Wait)
    assert decision.until is not None
    assert now < decision.until <= now + 0.5 * TIME.seconds(1, 1) * 1e6
    submit(busy, "f1", now=now + 20)
    assert names(plan(busy, decision.until + 60)) == ["f0", "f1"]


def test_nothing_is_held_when_nobody_is_expected() -> None:
    busy = window(*many(16))
    now = frequent(busy, gap=5_000) + 100
    submit(busy, "f0", now=now)
    assert names(plan(busy, now)) == ["f0"]


def test_holding_ends_when_nobody_ever_comes() -> None:
    busy = window(*many(32))
    now, waits = frequent(busy), []
    for _ in range(20):  # half of the tenants send together, and then nothing comes for a while
        now += 3_000
        for place in range(16):
            submit(busy, f"f{place}", now=now + place)
        waits.append(isinstance(busy.schedule(now + 15), Wait))
        now = run(busy, now + 15)[1]
    assert 1 <= sum(waits) <= 7


def test_nothing_is_held_while_other_lanes_want_the_device() -> None:
    busy = window(*many(16), *many(2, "g"))
    now = frequent(busy) + 100
    submit(busy, "f0", now=now)
    submit(busy, "g0", now=now)
    plan(busy, now)


def test_what_came_while_the_device_worked_is_launched_at_once() -> None:
    busy = window(*many(16))
    now = frequent(busy)
    submit(busy, "f0", now=now)
    submit(busy, "f1", now=now + 1)
    running = busy.schedule(now + 200)
    assert isinstance(running, Plan)
    submit(busy, "f2", now=now + 210)
    busy.commit(running, BundleResult(220e-6), now + 420)
    plan(busy, now + 420)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(250, 1500), min_size=1, max_size=8), st.integers(5, 100))
def test_holding_misses_no_deadline_that_launching_at_once_would_meet(slacks: list[int], gap: int) -> None:
    held, prompt = window(*many(16)), window(*many(16))
    starts = [frequent(held, gap=gap) + 100, frequent(prompt, gap=5_000) + 100]
    ends = []
    for busy, start in zip((held, prompt), starts, strict=True):
        requests = [submit(busy, f"f{place}", now=start, deadline=start + slack) for place, slack in enumerate(slacks)]
        run(busy, start)
        ends.append(sum(request.in_time for request in requests))
    assert ends[0] >= ends[1]


def _history(data: st.DataObject) -> list[tuple[str, int, int]]:
    """Arrivals: who, how many rows, how long after the one before."""
    arrival = st.tuples(st.sampled_from(["f0", "f1", "f2", "f3", "g0", "g1"]), st.sampled_from([1, 1, 1, 2, 70]), st.sampled_from([0, 0, 0, 5, 150, 800]))  # fmt: skip
    return data.draw(st.lists(arrival, min_size=1, max_size=40))


def _launches(history: Sequence[tuple[str, int, int]], slo_s: float, fails: bool) -> list[tuple[object, ...]]:
    busy, now, found = window(*many(4, slo_s=slo_s), *many(2, "g", slo_s=slo_s)), 0, []
    for name, rows, gap in history:
        now += gap
        with contextlib.suppress(RejectedError):
            submit(busy, name, rows, now)
        if gap:
            plans, now = run(busy, now, fails=lambda request: fails and request.tenant == "f1")
            found += [(names(each), each.rows_each, each.num_slots, each.predicted_s, each.reason, each.started) for each in plans]  # fmt: skip
            busy.expired(now)
    return [*found, (busy.num_waiting,)]


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from([0.0003, 0.0006, 0.01, 1.0]), st.booleans())
def test_who_is_launched_without_asking_for_an_order_is_who_would_be_with_it(
    data: st.DataObject, slo_s: float, fails: bool
) -> None:
    history = _history(data)
    made = _launches(history, slo_s, fails)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coalescing, "_everybody", lambda *_: None)
        assert _launches(history, slo_s, fails) == made

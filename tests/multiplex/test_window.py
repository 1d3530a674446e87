"""The whole scheduler: every request ends once, whatever happens; tenants cannot harm each other."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from paceline.errors import ConfigError, DeadlineInfeasible, InvalidRequest, Quarantined, QueueFull, RejectedError
from paceline.multiplex.request import BundleResult, Plan, Request
from paceline.multiplex.simulate import LaunchTime
from paceline.multiplex.window import Window
from paceline.scheduling import Wait
from tests.multiplex.windows import TIME, many, plan, run, spec, submit, warm, window

# ── the life of a request ───────────────────────────────────────────────────────────────────────


def test_a_request_gets_arrival_and_deadline_from_its_tenant() -> None:
    request = submit(window(spec("a", slo_s=0.05)), "a", now=7)
    assert (request.arrival, request.deadline) == (7, 50_007)


def test_a_deadline_of_its_own_counts() -> None:
    request = submit(window(spec("a", slo_s=0.05)), "a", now=7, deadline=9_000)
    assert request.deadline == 9_000


def test_a_request_passes_all_segments_and_is_done() -> None:
    busy = window(spec("a", segments=("s0", "s1", "s2"), slo_s=0.1))
    request = submit(busy, "a")
    plans, now = run(busy)
    assert [launch.segment_key for launch in plans] == ["s0", "s1", "s2"]
    assert (request.outcome, request.started, request.finished, request.in_time) == ("done", 0, now, True)


def test_a_request_of_too_many_rows_runs_alone_in_chunks_through_all_segments() -> None:
    busy = window(spec("a", segments=("s0", "s1"), max_rows=4, slo_s=1.0), spec("b", segments=("s0", "s1"), slo_s=1.0))
    submit(busy, "a", rows=10)
    chunks = []
    now = 0
    while not isinstance(launch := busy.schedule(now), Wait):
        assert len(launch.members) == 1
        request = launch.members[0]
        chunks.append((launch.segment_key, request.first_row, request.num_rows))
        now += 300
        busy.commit(launch, BundleResult(300e-6), now)
        busy.check()
    assert chunks == [("s0", 0, 4), ("s1", 0, 4), ("s0", 4, 4), ("s1", 4, 4), ("s0", 8, 2), ("s1", 8, 2)]
    assert request.outcome == "done"


def test_the_ordinary_go_before_the_oversized() -> None:
    busy = window(*many(2, max_rows=4))
    submit(busy, "f0", rows=8)
    submit(busy, "f1", now=0)
    plans, _ = run(busy)
    assert [launch.members[0].tenant for launch in plans] == ["f1", "f0", "f0"]


def test_a_late_request_is_dropped_with_its_reason_and_told_of_once() -> None:
    busy = window(spec("a"))
    request = submit(busy, "a", deadline=500)
    assert busy.expired(200) == []
    assert busy.expired(400) == [request]
    assert (request.outcome, request.finished) == ("late", 400)
    assert "deadline" in request.reason
    assert busy.expired(400) == []
    assert busy.schedule(400) == Wait(None)


def test_a_cancelled_request_that_waits_is_never_launched() -> None:
    busy = window(spec("a"), spec("b"))
    gone, stays = submit(busy, "a"), submit(busy, "b")
    busy.cancel(gone)
    busy.check()
    assert plan(busy).members == (stays,)
    assert gone.outcome == "aborted"


def test_a_cancelled_request_that_runs_goes_no_further() -> None:
    busy = window(spec("a", segments=("s0", "s1"), slo_s=0.1))
    request = submit(busy, "a")
    running = plan(busy)
    busy.cancel(request)
    busy.commit(running, BundleResult(210e-6), 210)
    assert request.outcome == "aborted"
    assert busy.schedule(210) == Wait(None)
    busy.check()


def test_cancelling_what_is_over_changes_nothing() -> None:
    busy = window(spec("a"))
    request = submit(busy, "a")
    run(busy)
    busy.cancel(request)
    assert request.outcome == "done"


def test_two_launches_can_run_at_once() -> None:
    busy = window(*many(2), *many(2, "g"), num_workers=2)
    for name in ("f0", "g0"):
        submit(busy, name)
    first, second = plan(busy), plan(busy)
    busy.commit(second, BundleResult(210e-6), 210)
    busy.commit(first, BundleResult(210e-6), 220)
    assert {first.members[0].outcome, second.members[0].outcome} == {"done"}
    busy.check()


# ── tenants come and go ─────────────────────────────────────────────────────────────────────────


def test_a_name_is_registered_once() -> None:
    busy = window(spec("a"))
    with pytest.raises(ConfigError, match="'a' is already registered"):
        busy.register(spec("a"))


def test_an_unknown_tenant_is_named() -> None:
    busy = window(spec("a"))
    with pytest.raises(InvalidRequest, match="unknown tenant 'b'"):
        submit(busy, "b")
    with pytest.raises(ConfigError, match="unknown tenant 'b'; known: a"):
        busy.unregister("b")


def test_requests_of_a_tenant_that_goes_end() -> None:
    busy = window(*many(2))
    running = submit(busy, "f0")
    launch = plan(busy)
    waiting, other = submit(busy, "f0", now=1), submit(busy, "f1", now=1)
    busy.unregister("f0")
    assert busy.expired(1) == [waiting]
    busy.commit(launch, BundleResult(210e-6), 210)
    assert (waiting.outcome, running.outcome) == ("aborted", "aborted")
    run(busy, 210)
    assert other.outcome == "done"
    assert list(busy.tenants) == ["f1"]


def test_a_tenant_can_come_back() -> None:
    busy = window(spec("a"))
    busy.unregister("a")
    busy.register(spec("a"))
    request = submit(busy, "a")
    run(busy)
    assert request.outcome == "done"


# ── failures ────────────────────────────────────────────────────────────────────────────────────


def test_a_member_that_raises_fails_alone() -> None:
    busy = window(*many(3))
    requests = [submit(busy, f"f{place}") for place in range(3)]
    run(busy, fails=lambda request: request.tenant == "f1")
    assert [request.outcome for request in requests] == ["done", "failed", "done"]


def test_a_model_that_has_failed_runs_alone_until_it_succeeds() -> None:
    busy = window(*many(3))
    submit(busy, "f0")
    _, now = run(busy, fails=lambda request: True)
    for place in range(3):
        submit(busy, f"f{place}", now=now)
    plans, now = run(busy, now)
    assert Counter(len(launch.members) for launch in plans) == {1: 1, 2: 1}
    for place in range(3):
        submit(busy, f"f{place}", now=now)
    assert len(plan(busy, now).members) == 3


def test_a_model_that_fails_again_and_again_is_quarantined_and_then_tried() -> None:
    busy = window(*many(2), max_group=1)
    now = 0
    for _ in range(3):
        submit(busy, "f0", now=now)
        _, now = run(busy, now, fails=lambda request: request.tenant == "f0")
    with pytest.raises(Quarantined) as refused:
        submit(busy, "f0", now=now)
    assert refused.value.retry_after_s == 1.0
    submit(busy, "f1", now=now)
    now += 1_000_000
    request = submit(busy, "f0", now=now)
    run(busy, now)
    assert request.outcome == "done"


def test_what_waits_for_a_quarantined_model_fails_at_once() -> None:
    busy = window(spec("a", stackable=False, slo_s=1.0))
    requests = [submit(busy, "a") for _ in range(5)]
    _, now = run(busy, fails=lambda request: True)
    assert [request.outcome for request in requests] == ["failed"] * 5
    assert busy.expired(now) == requests[3:]


def test_launches_with_failures_teach_nothing_about_time() -> None:
    busy = window(*many(2))
    before = busy.costs["f"].predict(1, 1)
    for _ in range(20):
        submit(busy, "f0")
        busy.commit(plan(busy), BundleResult(0.5, disturbed=True), 10)
    assert busy.costs["f"].predict(1, 1) == before


def test_a_tenant_that_slows_every_group_down_is_run_alone() -> None:
    busy = window(*many(4))
    now, chosen = 0, 0
    for turn in range(400):
        members = [place for place in range(4) if place != 3 or turn % 3 == 0]
        for place in members:
            submit(busy, f"f{place}", now=now)
        while not isinstance(launch := busy.schedule(now), Wait):
            slow = any(request.tenant == "f3" for request in launch.members)
            seconds = TIME.seconds(launch.num_slots, launch.rows_each) * (4.0 if slow else 1.0)
            now += round(seconds * 1e6)
            busy.commit(launch, BundleResult(seconds), now)
            chosen += slow and launch.num_slots == 1
    assert chosen > 10
    assert not any(busy.tenants[f"f{place}"].alone for place in range(3))


def test_a_machine_that_pauses_blames_nobody() -> None:
    busy = window(*many(8))
    generator, now = random.Random(3), 0
    for turn in range(400):
        for place in range(8):
            if generator.random() < 0.8:
                submit(busy, f"f{place}", now=now)
        while not isinstance(launch := busy.schedule(now), Wait):
            pause = 3.0 if turn % 50 > 35 else 1.0
            seconds = TIME.seconds(launch.num_slots, launch.rows_each) * pause * generator.uniform(1.0, 1.5)
            now += round(seconds * 1e6)
            busy.commit(launch, BundleResult(seconds), now)
    assert not any(tenant.alone for tenant in busy.tenants.values())


# ── admission ───────────────────────────────────────────────────────────────────────────────────


def test_a_deadline_that_cannot_be_met_is_refused_at_once() -> None:
    busy = window(spec("a"))
    with pytest.raises(DeadlineInfeasible, match=r"but wanted in 1e-05 s"):
        submit(busy, "a", deadline=10)
    assert busy.num_waiting == 0
    busy.check()


def test_expectations_that_let_nothing_in_are_corrected() -> None:
    busy = window(spec("f", slo_s=0.001))
    for _ in range(20):
        busy.costs["f"].observe(1, 1, 0.0015)
    now, done = 0, 0
    for _ in range(2000):
        now += 2000
        try:
            request = submit(busy, "f", now=now)
        except DeadlineInfeasible:
            continue
        _, now = run(busy, now)
        done += request.in_time
    assert done > 1000


def flood(busy: Window, num: int = 100) -> tuple[list[Request], list[RejectedError]]:
    """Many requests of one tenant at one moment: those that were let in, and why the others were not."""
    accepted, refused = [], []
    for _ in range(num):
        try:
            accepted.append(submit(busy, "a"))
        except RejectedError as error:
            refused.append(error)
    return accepted, refused


def test_a_deadline_that_the_queue_makes_infeasible_is_refused() -> None:
    accepted, refused = flood(window(spec("a", stackable=False, max_queued=1000)))
    assert len(accepted) == pytest.approx(0.01 / TIME.seconds(1, 1), abs=2)
    assert {type(error) for error in refused} == {DeadlineInfeasible}
    assert "behind others" in str(refused[0])


def test_what_was_admitted_is_done_in_time_on_a_quiet_machine() -> None:
    busy = window(spec("a", stackable=False, max_queued=1000))
    accepted, _ = flood(busy)
    run(busy)
    assert all(request.in_time for request in accepted)


def test_a_tenants_queue_is_bounded() -> None:
    busy = window(spec("a", max_queued=2, slo_s=10.0), spec("b", slo_s=10.0))
    submit(busy, "a")
    submit(busy, "a")
    with pytest.raises(QueueFull, match="max_queued") as refused:
        submit(busy, "a")
    assert 0.0 < refused.value.retry_after_s < 1.0
    submit(busy, "b")


def test_a_rate_is_kept_and_the_refusal_says_when_to_come_back() -> None:
    busy = window(spec("a", rate=4.0, slo_s=10.0))
    submit(busy, "a")
    with pytest.raises(QueueFull, match="its rate of 4 requests/s") as refused:
        submit(busy, "a", now=100_000)
    assert refused.value.retry_after_s == pytest.approx(0.15)
    submit(busy, "a", now=250_000)


def test_what_is_refused_for_another_reason_takes_no_token() -> None:
    busy = window(spec("a", rate=1.0))
    with pytest.raises(DeadlineInfeasible):
        submit(busy, "a", deadline=1)
    submit(busy, "a")


@pytest.mark.parametrize("rows", [0, -1, 1 << 20])
def test_rows_are_checked(rows: int) -> None:
    with pytest.raises(InvalidRequest, match=f"got {rows}"):
        submit(window(spec("a")), "a", rows=rows)


def test_before_anything_is_known_requests_are_admitted_and_run_one_by_one() -> None:
    fresh = window()
    for each in many(3):
        fresh.register(each)
    requests = [submit(fresh, f"f{place}") for place in range(3)]
    assert len(plan(fresh).members) == 1
    assert all(request.outcome is None for request in requests)


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="num_workers"):
        window(num_workers=0)


# ── properties ──────────────────────────────────────────────────────────────────────────────────

CHAINS = (("s0",), ("s0", "s1"), ("layer", "layer", "s1"))


class Life(RuleBasedStateMachine):
    """Two workers, five tenants; requests come, go, fail and are cancelled in any order."""

    def __init__(self) -> None:
        super().__init__()
        specs = [
            spec(f"t{place}", segments=CHAINS[place % 3], max_rows=4, max_queued=6, stackable=place != 4, slo_s=0.003)
            for place in range(5)
        ]
        self.window = window(*specs, num_workers=2)
        self.requests: list[Request] = []
        self.running: list[Plan] = []
        self.ended = Counter[Request]()  # how often the driver heard of it
        self.now = 0

    @rule(place=st.integers(0, 4), rows=st.sampled_from([1, 1, 1, 2, 4, 9]), priority=st.integers(0, 1))
    def submit(self, place: int, rows: int, priority: int) -> None:
        request = Request(f"t{place}", rows, priority=priority)
        try:
            self.window.submit(request, self.now)
            self.requests.append(request)
        except RejectedError:
            assert request.line is None

    @rule(passed=st.integers(1, 400))
    def wait(self, passed: int) -> None:
        self.now += passed

    @rule()
    def schedule(self) -> None:
        decision = self.window.schedule(self.now) if len(self.running) < 2 else Wait(None)
        if isinstance(decision, Plan):
            slots = {(request.tenant, request.segment) for request in decision.members}
            assert len(slots) == decision.num_slots
            self.running.append(decision)

    @rule(newest=st.booleans(), failed=st.frozensets(st.integers(0, 3), max_size=1))
    def commit(self, newest: bool, failed: frozenset[int]) -> None:
        if self.running:
            launch = self.running.pop(-1 if newest else 0)
            self.window.commit(launch, BundleResult(300e-6, failed), self.now)
            self.ended.update(request for request in launch.members if request.outcome is not None)

    @rule(number=st.integers(0, 30))
    def cancel(self, number: int) -> None:
        if number < len(self.requests):
            request = self.requests[number]
            self.ended[request] += request.ticket > 0
            self.window.cancel(request)

    @precondition(lambda self: len(self.requests) > 5 and "t1" in self.window.tenants)
    @rule()
    def leave(self) -> None:
        self.window.unregister("t1")

    @invariant()
    def accounts_agree(self) -> None:
        self.ended.update(self.window.expired(self.now))
        self.window.check()

    def teardown(self) -> None:
        while self.running:
            self.commit(newest=False, failed=frozenset())
        while not isinstance(decision := self.window.schedule(self.now), Wait) or decision.until is not None:
            if isinstance(decision, Plan):
                self.running.append(decision)
                self.now += 300
                self.commit(newest=True, failed=frozenset())
            else:
                self.now = decision.until or 0
        self.accounts_agree()
        assert self.window._shares.weight == 0.0
        assert {request: self.ended[request] for request in self.requests} == dict.fromkeys(self.requests, 1)
        assert all(request.outcome is not None for request in self.requests)
        assert all(tenant.num_queued == 0 == tenant.backlog for tenant in self.window.tenants.values())


class TestEveryRequestEndsExactlyOnceWhateverHappens(Life.TestCase):  # type: ignore[misc]
    settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 400)), min_size=1, max_size=40))
def test_a_device_that_could_work_works_or_waits_for_no_longer_than_half_a_launch(
    arrivals: list[tuple[int, int]],
) -> None:
    busy = window(*many(8))
    now = 0
    for place, gap in arrivals:
        now += gap
        submit(busy, f"f{place}", now=now, deadline=now + 50_000)
        decision = busy.schedule(now)
        if isinstance(decision, Plan):
            now += 300
            busy.commit(decision, BundleResult(TIME.seconds(decision.num_slots, decision.rows_each)), now)
        else:
            assert decision.until is not None, "something waits"
            assert decision.until - now <= 0.5 * 1e6 * TIME.seconds(8, 1)


def test_costs_are_shared_with_whoever_warms_up() -> None:
    fresh = window()
    fresh.register(spec("a"))
    warm(fresh.costs, "f", LaunchTime(1e-3))
    with pytest.raises(DeadlineInfeasible):
        submit(fresh, "a", deadline=300)

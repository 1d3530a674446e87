"""The scheduler: takes requests of all tenants in, says what to launch, learns what it took. Pure.

A request waits for its next segment; launches join what fits. What cannot be answered in time is turned away at the
door, or dropped as soon as it is certain: late answers are of no use to anybody, and their time is another's.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from types import MappingProxyType
from typing import Final, final

from paceline.clock import to_microseconds, to_seconds
from paceline.errors import ConfigError, InvalidRequest
from paceline.multiplex.admission import Admission
from paceline.multiplex.coalescing import Coalesce
from paceline.multiplex.fairness import Shares
from paceline.multiplex.load import Costs
from paceline.multiplex.ready import Ready
from paceline.multiplex.request import BundleResult, Lane, Line, Plan, Request
from paceline.multiplex.tenant import MAX_ROWS, SLOW, Tenant, TenantSpec
from paceline.records import Outcome
from paceline.scheduling import Wait

_SLOWEST: Final = 2.0 * SLOW  # more was a pause of the machine, and counts like this


@final
class Window:
    """Admission, order and membership of launches. ``costs`` may be shared with whoever warms up.

    ``num_workers``: launches that can run at once; a plan may be asked for while others run.

    >>> window = Window(Costs())
    >>> for name in "ab":
    ...     window.register(TenantSpec(name=name, family="f", segments=("f/0",), slo_s=0.05))
    >>> for num_slots in (1, 2):
    ...     window.costs["f/0"].observe(num_slots, 1, 0.001 + 0.0001 * num_slots)
    >>> window.submit(Request("a", 1), 0); window.submit(Request("b", 1), 0)
    >>> plan = window.schedule(0)
    >>> [request.tenant for request in plan.members], plan.reason
    (['a', 'b'], 'only')
    >>> window.commit(plan, BundleResult(0.0012), 1200)
    >>> [request.outcome for request in plan.members], window.schedule(1200)
    (['done', 'done'], Wait(until=None))
    """

    def __init__(self, costs: Costs, *, max_group: int = 64, num_workers: int = 1) -> None:
        if num_workers < 1:
            raise ConfigError(f"num_workers must be >= 1, got {num_workers}")
        self.costs = costs
        self._policy = Coalesce(max_group)
        self._num_workers = num_workers
        self._shares = Shares()
        self._ready = Ready(self._shares)
        self._admission = Admission(self._ready, self._shares, self._policy, num_workers)
        self._tenants: dict[str, Tenant] = {}
        self._entries: dict[
            str, tuple[Line, Line]
        ] = {}  # by tenant: where requests come in, and those of too many rows
        self._lanes: dict[str, Lane] = {}
        self._num_lines = 0  # ever made
        self._running: dict[Plan, int] = {}  # and when they should end
        self._dropped: list[Request] = []

    @property
    def tenants(self) -> Mapping[str, Tenant]:
        """Who is registered."""
        return MappingProxyType(self._tenants)

    @property
    def num_waiting(self) -> int:
        return self._ready.num_waiting

    # ── tenants ──────────────────────────────────────────────────────────────────────────────

    def register(self, spec: TenantSpec) -> None:
        """Takes a tenant in; its name must be new."""
        if spec.name in self._tenants:
            raise ConfigError(f"tenant {spec.name!r} is already registered")
        tenant = self._tenants[spec.name] = Tenant(spec)
        private = [Lane(key, self.costs[key], joint=False) for key in spec.segments]
        shared = [self._lane(key) for key in spec.segments] if spec.stackable else private
        self._entries[spec.name] = self._line(tenant, shared), self._line(tenant, private)

    def _lane(self, key: str) -> Lane:
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key, self.costs[key], joint=True)
        return lane

    def _line(self, tenant: Tenant, lanes: list[Lane]) -> Line:
        """The first of a chain of lines, one in each lane."""
        line = None
        for lane in reversed(lanes):
            line = Line(tenant, lane, self._num_lines, line)
            lane.enrol(line)
            self._num_lines += 1
        assert line is not None
        return line

    def unregister(self, name: str) -> None:
        """Lets a tenant go. Its requests end as "aborted": those that wait at once, those that run with their launch."""
        tenant = self._tenants.pop(name, None)
        if tenant is None:
            raise ConfigError(f"unknown tenant {name!r}; known: {', '.join(self._tenants) or 'none'}")
        self._drop_waiting(tenant, "aborted", "the tenant was unregistered")
        for plan in self._running:
            for request in plan.members:
                if request.tenant == name:
                    self.cancel(request)
        for line in self._entries.pop(name)[0].chain():
            line.lane.dismiss(line)
            if line.lane.joint and not line.lane.lines:
                del self._lanes[line.lane.key]

    # ── submit ───────────────────────────────────────────────────────────────────────────────

    def submit(self, item: Request, now: int) -> None:
        """Queues a request. What is raised leaves nothing behind.

        InvalidRequest: no such tenant, no rows; Quarantined: its model failed again and again; QueueFull: too many of
        its requests wait already, or it sends more per second than agreed; DeadlineInfeasible: it could not be done in time.
        """
        request = item
        tenant = self._tenants.get(request.tenant)
        if tenant is None:
            raise InvalidRequest(f"unknown tenant {request.tenant!r}", param="tenant")
        if not 1 <= request.rows <= MAX_ROWS:
            raise InvalidRequest(f"a request must have 1..{MAX_ROWS} rows, got {request.rows}", param="rows")
        if request.arrival is None:
            request.arrival = now
        if request.deadline is None:
            request.deadline = request.arrival + tenant.slo
        line = self._entries[tenant.name][request.rows > tenant.max_rows]
        line.lane.arrived(now)  # those who are turned away too: they could have joined a launch that was held
        self._admission.check(tenant, line, request, self._busy(now), now)
        tenant.num_queued += 1
        if tenant.num_queued == 1:
            self._shares.enter(tenant)
        request.num_rows = min(request.rows, tenant.max_rows)
        if tenant.alone:
            tenant.settle(now)
        self._ready.add(request, line, now)

    def _busy(self, now: int) -> int:
        """Microseconds until a worker is free."""
        if len(self._running) < self._num_workers:
            return 0
        return max(0, min(self._running.values()) - now)

    # ── end ──────────────────────────────────────────────────────────────────────────────────

    def cancel(self, request: Request) -> None:
        """Nobody wants the answer any more. Over already: nothing happens; running: it ends with its launch."""
        if request.line is None or request.outcome is not None:
            return
        if request.ticket:
            self._ready.remove(request)
            self._end(request, "aborted", request.finished)
        else:
            request.outcome = "aborted"

    def expired(self, now: int) -> list[Request]:
        """Requests that were dropped since the last call, with ``outcome`` and ``reason``: too late, or their tenant is no more
        served. Each is told of once."""
        self._drop_late(now)
        dropped, self._dropped = self._dropped, []
        return dropped

    def _drop_late(self, now: int) -> None:
        for request in self._ready.late(now):
            self._drop(request, "late", "it could not be finished by its deadline any more", now)

    def _drop_waiting(self, tenant: Tenant, outcome: Outcome, reason: str, now: int | None = None) -> None:
        for line in self._lines(tenant):
            for request in [entry[3] for entry in line.waiting]:
                self._ready.remove(request)
                self._drop(request, outcome, reason, now)

    def _lines(self, tenant: Tenant) -> list[Line]:
        return [line for entry in self._entries[tenant.name] for line in entry.chain()]

    def _drop(self, request: Request, outcome: Outcome, reason: str, now: int | None) -> None:
        request.reason = reason
        self._end(request, outcome, now)
        self._dropped.append(request)

    def _end(self, request: Request, outcome: Outcome, now: int | None) -> None:
        line = request.line
        assert line is not None
        request.outcome, request.finished, request.line = outcome, now, None
        tenant = line.tenant
        tenant.num_queued -= 1
        if tenant.num_queued == 0:
            self._shares.leave(tenant)

    def check(self) -> None:
        """Accounts must agree with what waits and runs; run when idle and in tests."""
        lines = [line for tenant in self._tenants.values() for line in self._lines(tenant)]
        self._ready.check(list(dict.fromkeys(line.lane for line in lines)))
        for tenant in self._tenants.values():
            waiting = [entry[3] for line in self._lines(tenant) for entry in line.waiting]
            running = [request for plan in self._running for request in plan.members if request.tenant == tenant.name]
            assert tenant.num_queued == len(waiting) + len(running)
            assert tenant.backlog == sum(request.share for request in waiting)
        self._shares.check(self._tenants.values())

    # ── schedule ─────────────────────────────────────────────────────────────────────────────

    def schedule(self, now: int) -> Plan | Wait:
        """The next launch, or ``Wait``."""
        self._drop_late(now)
        group = self._policy.choose(self._ready, now)
        if isinstance(group, Wait):
            return group
        members = group.take(self._ready)
        for request in members:
            if request.started is None:
                request.started = now
        plan = Plan(
            group.lane.key,
            tuple(members),
            len(group.lines),
            group.rows_each,
            to_seconds(group.cost.mean),
            group.reason,
            now,
        )
        self._running[plan] = now + group.cost.upper
        return plan

    # ── commit ───────────────────────────────────────────────────────────────────────────────

    def commit(self, plan: Plan, result: BundleResult, now: int) -> None:
        """Takes in what a launch gave."""
        del self._running[plan]
        self._ready.idle_since = now
        first = plan.members[0].line
        assert first is not None
        if not (result.disturbed or result.failed):
            self._learn(plan, first.lane, result.seconds, now)
        spent = to_microseconds(result.seconds)
        self._shares.advance(spent)
        per_row = spent / sum([request.num_rows for request in plan.members])
        for place, request in enumerate(plan.members):
            assert request.line is not None
            tenant = request.line.tenant
            self._shares.charge(tenant, per_row * request.num_rows)
            if request.outcome is not None:  # cancelled meanwhile
                self._end(request, request.outcome, now)
            elif place in result.failed:
                self._fail(request, tenant, now)
            else:
                self._go_on(request, tenant, now)

    def _go_on(self, request: Request, tenant: Tenant, now: int) -> None:
        line = request.line
        assert line is not None
        if tenant.quarantine.strikes:
            tenant.quarantine.clear()
            tenant.settle(now)
        following = line.next
        request.segment += 1
        if following is None:
            request.first_row += request.num_rows
            if request.first_row >= request.rows:
                self._end(request, "done", now)
                return
            following = line.entry
            request.segment = 0
            request.num_rows = min(request.rows - request.first_row, tenant.max_rows)
        self._ready.add(request, following, now)

    def _fail(self, request: Request, tenant: Tenant, now: int) -> None:
        request.reason = "the model raised"
        self._end(request, "failed", now)
        if tenant.failed(now):
            self._drop_waiting(tenant, "failed", "its model failed again and again", now)

    def _learn(self, plan: Plan, lane: Lane, seconds: float, now: int) -> None:
        cost = lane.cost
        if plan.predicted_s and plan.num_slots > 1:  # a pause hits whoever is alone by chance
            ratio = min(seconds / plan.predicted_s, _SLOWEST)
            for tenant in plan.tenants():
                tenant.slowness.observe(ratio)
            if ratio > SLOW:
                self._blame(max(plan.tenants(), key=lambda tenant: tenant.slowness.mean), lane, now)
        if plan.reason == "trial":
            cost.tried(plan.num_slots, plan.rows_each, self._policy.size(lane), seconds)
        else:
            cost.observe(plan.num_slots, plan.rows_each, seconds, at_once=plan.members[0].hoped)

    def _blame(self, tenant: Tenant, lane: Lane, now: int) -> None:
        """Pauses of the machine slow everyone down: only who is slower than most others in company is a straggler."""
        others = [line.tenant for line in lane.lines if line.tenant is not tenant and not line.tenant.alone]
        if others:
            tenant.judge(max(lane.cost.ratio.mean, median([other.slowness.mean for other in others])), now)

"""What is turned away at the door, so that what is let in can be done in time. Pure."""

from __future__ import annotations

from typing import final

from paceline.clock import to_seconds
from paceline.errors import DeadlineInfeasible, Quarantined, QueueFull
from paceline.multiplex.coalescing import Coalesce
from paceline.multiplex.fairness import Shares
from paceline.multiplex.load import row_bucket
from paceline.multiplex.ready import Ready
from paceline.multiplex.request import Line, Request
from paceline.multiplex.tenant import Tenant

_SOONEST_RETRY_S = 0.001
_HOPE = 3  # times too slow that an expectation may be, before nothing is tried against it
_HOPE_EVERY = 2  # of what a request needs, between two that are tried


@final
class Admission:
    """Bounds of each tenant, and whether a request can be answered by its deadline."""

    def __init__(self, ready: Ready, shares: Shares, policy: Coalesce, num_workers: int) -> None:
        self._ready = ready
        self._shares = shares
        self._policy = policy
        self._num_workers = num_workers

    def check(self, tenant: Tenant, line: Line, request: Request, busy: int, now: int) -> None:
        """Raises if a request for ``line`` is not to be queued; a worker is free in ``busy`` microseconds.

        The rate comes last: what is refused for another reason takes no token.
        """
        if tenant.quarantine.until > now:
            raise Quarantined(
                f"the model of tenant {tenant.name!r} failed again and again and is not run for a while",
                retry_after_s=tenant.quarantine.left_s(now),
            )
        wait = busy + self._queue(tenant)
        if tenant.num_queued >= tenant.max_queued:
            raise QueueFull(
                f"{tenant.num_queued} requests of tenant {tenant.name!r} wait or run, which is its max_queued",
                retry_after_s=max(_SOONEST_RETRY_S, to_seconds(wait)),
            )
        need = self._need(line, request, alone=not wait)
        assert request.deadline is not None
        request.hoped = now + wait + need > request.deadline
        if request.hoped and (wait or not self._hopes(line, request.deadline, need, now)):
            raise DeadlineInfeasible(
                f"tenant {tenant.name!r}: an answer is expected in {to_seconds(wait + need):.4g} s, of which "
                f"{to_seconds(wait):.4g} s behind others, but wanted in {to_seconds(request.deadline - now):.4g} s"
            )
        retry_after_s = tenant.bucket.take(now)
        if retry_after_s:
            raise QueueFull(
                f"tenant {tenant.name!r} sends more than its rate of {tenant.spec.rate:g} requests/s",
                retry_after_s=retry_after_s,
            )

    def _hopes(self, line: Line, deadline: int, need: int, now: int) -> bool:
        """Whether to try a request on an idle device although it is expected to be late: expectations that let nothing in
        would never be corrected. Seldom, and not what is out of reach.
        """
        lane = line.lane
        if self._ready.num_waiting or now + need // _HOPE > deadline or now < lane.hoped_at + _HOPE_EVERY * need:
            return False
        lane.hoped_at = now
        return True

    def _queue(self, tenant: Tenant) -> int:
        """Microseconds of waiting: for all that waits, or, if that is less, for the tenant's own at the pace of its share."""
        if not tenant.backlog:
            return 0
        return int(min(self._ready.backlog, tenant.backlog * self._shares.pace(tenant))) // self._num_workers

    def _need(self, line: Line, request: Request, *, alone: bool) -> int:
        """Microseconds of its own launches. Whoever has to wait joins those who wait, which takes longer than alone."""
        size = 1 if alone else min(self._policy.size(line.lane), line.lane.num_lines + 1)
        max_rows = line.tenant.max_rows
        if request.rows <= max_rows:
            return line.need(size, row_bucket(request.rows))
        return line.need(size, row_bucket(max_rows)) * -(-request.rows // max_rows)

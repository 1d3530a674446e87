"""What the runtime has done, counted for people: per tenant, per launch, and the newest of both as a timeline."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import final

from paceline.clock import to_seconds
from paceline.decision import Average
from paceline.multiplex.family import Family
from paceline.multiplex.messages import RuntimeStats, TenantStats
from paceline.multiplex.request import Plan, Request
from paceline.multiplex.trace import LaunchRecord, Timeline

_ERROR_WEIGHT = 0.02  # of the newest launch in the mean error of predictions
_KEPT = 8192  # requests and launches that a trace shows


@final
class Account:
    """Of one tenant; written by the one thread that runs it."""

    __slots__ = ("device", "num_coalesced", "num_done", "num_failed", "num_late")

    def __init__(self) -> None:
        self.num_done = self.num_late = self.num_failed = self.num_coalesced = 0
        self.device = 0.0  # µs

    def stats(self) -> TenantStats:
        return TenantStats(
            num_done=self.num_done,
            num_late=self.num_late,
            num_failed=self.num_failed,
            num_coalesced=self.num_coalesced,
            device_time_s=to_seconds(round(self.device)),
        )


@final
class Ledger:
    """Written by the driver's thread; any thread may read what it says.

    What a trace shows is kept as it comes, and made into records when somebody wants to see it.
    """

    def __init__(self) -> None:
        self.num_launches = 0
        self._rows = 0
        self._padded = 0
        self._time = 0  # µs
        self._sizes: list[int] = []  # launches with 1, 2, … requests
        self._error = Average(weight=_ERROR_WEIGHT)
        self._accounts: dict[str, Account] = {}
        self._launches: deque[tuple[int, int, int, str, str, int, int, tuple[str, ...], str]] = deque(maxlen=_KEPT)
        self._requests: deque[Request] = deque(maxlen=_KEPT)

    def enrol(self, name: str) -> Account:
        account = self._accounts[name] = Account()
        return account

    def dismiss(self, name: str) -> None:
        self._accounts.pop(name, None)

    def launched(self, plan: Plan, family: str, began: int, ended: int) -> None:
        """A launch has ended, and is not committed yet."""
        took, members = ended - began, plan.members
        rows = sum([request.num_rows for request in members])
        self.num_launches += 1
        self._rows += rows
        self._padded += max(0, plan.num_slots * plan.rows_each - rows)
        self._time += took
        while len(self._sizes) < len(members):
            self._sizes.append(0)
        self._sizes[len(members) - 1] += 1
        if plan.predicted_s and took:
            self._error.observe(abs(to_seconds(took) - plan.predicted_s) / to_seconds(took))
        per_row = took / rows
        for request in members:
            account = self._accounts.get(request.tenant)
            if account is not None:
                account.device += per_row * request.num_rows
        ids = tuple([request.id for request in members])
        self._launches.append(
            (plan.started, ended, 0, family, plan.segment_key, plan.num_slots, rows, ids, plan.reason)
        )

    def ended(self, request: Request, *, together: bool = False) -> None:
        """A request is over; ``together``: its last launch had others in it."""
        self._requests.append(request)
        account = self._accounts.get(request.tenant)
        if account is None:
            return
        if request.outcome == "done":
            account.num_done += 1
            account.num_late += not request.in_time
            account.num_coalesced += together
        elif request.outcome == "late":
            account.num_late += 1
        elif request.outcome == "failed":
            account.num_failed += 1

    def refused(self, request: Request) -> None:
        """A request was turned away."""
        self._requests.append(request)

    def timeline(self) -> Timeline:
        """The newest requests and launches."""
        timeline = Timeline(_KEPT)
        timeline.launches.extend([LaunchRecord(*fields) for fields in list(self._launches)])
        for request in list(self._requests):
            timeline.ended(request, request.arrival or 0)
        return timeline

    def stats(self, num_waiting: int, families: Iterable[Family]) -> RuntimeStats:
        return RuntimeStats(
            num_waiting=num_waiting,
            num_launches=self.num_launches,
            num_rows=self._rows,
            num_padded_rows=self._padded,
            launch_time_s=to_seconds(self._time),
            members_per_launch=tuple(self._sizes),
            prediction_error=self._error.mean if self._error.count else 0.0,
            weights_bytes=sum(family.memory_bytes() for family in families),
            tenants={name: account.stats() for name, account in list(self._accounts.items())},
        )

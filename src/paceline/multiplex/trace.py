"""What happened: requests and launches in a bounded ring, written as a trace that Perfetto and chrome://tracing open. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, TypeAlias, final

import msgspec

from paceline.multiplex.request import Plan, Request
from paceline.records import Outcome

_WORKERS, _TENANTS = 1, 2  # "processes" of the trace

Event: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LaunchRecord:
    """One launch; times in microseconds. ``lane``: the worker. ``num_rows`` without padding; ``members``: ids of requests."""

    at: int
    until: int
    lane: int
    family: str
    segment: str
    num_slots: int
    num_rows: int
    members: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request that is over; times in microseconds. ``started`` is None if it was never launched."""

    id: str
    tenant: str
    arrival: int
    deadline: int
    started: int | None
    finished: int
    outcome: Outcome
    reason: str = ""

    @property
    def in_time(self) -> bool:
        return self.outcome == "done" and self.finished <= self.deadline


@final
class Timeline:
    """The newest launches and requests; older ones fall out.

    >>> timeline = Timeline(capacity=2)
    >>> for at in (0, 10, 20):
    ...     timeline.launches.append(LaunchRecord(at, at + 5, 0, "mlp", "mlp/0", 1, 1, ("a",)))
    >>> [launch.at for launch in timeline.launches]
    [10, 20]
    """

    def __init__(self, capacity: int = 8192) -> None:
        self.launches: deque[LaunchRecord] = deque(maxlen=capacity)
        self.requests: deque[RequestRecord] = deque(maxlen=capacity)

    def launched(self, plan: Plan, family: str, until: int, lane: int = 0) -> None:
        """A plan was run by worker ``lane``, which ended at ``until``."""
        members = tuple([request.id for request in plan.members])
        num_rows = sum([request.num_rows for request in plan.members])
        record = LaunchRecord(
            plan.started, until, lane, family, plan.segment_key, plan.num_slots, num_rows, members, plan.reason
        )
        self.launches.append(record)

    def ended(self, request: Request, now: int) -> None:
        """A request is over, or was turned away."""
        arrival = now if request.arrival is None else request.arrival
        deadline = arrival if request.deadline is None else request.deadline
        finished = now if request.finished is None else request.finished
        record = RequestRecord(
            request.id,
            request.tenant,
            arrival,
            deadline,
            request.started,
            finished,
            request.outcome or "failed",
            request.reason,
        )
        self.requests.append(record)


def chrome_json(timeline: Timeline) -> bytes:
    """A trace in Chrome's JSON.

    Launches stand in a lane per worker, named after their families, by which the viewers colour them; requests from arrival
    to end in lanes per tenant, as many as overlap. Arrows lead from each request to the launches it was in; counters show
    the slots of the running launch and the requests that wait.
    """
    launches, requests = list(timeline.launches), sorted(timeline.requests, key=lambda record: record.arrival)
    lanes = _tenant_lanes(requests)
    names = sorted(set(lanes.values()))
    threads = {record.id: names.index(lanes[record.id]) for record in requests}
    events = [
        _name("process_name", _WORKERS, 0, "workers"),
        _name("process_name", _TENANTS, 0, "tenants"),
        *[_name("thread_name", _WORKERS, lane, f"worker {lane}") for lane in sorted({each.lane for each in launches})],
        *[_name("thread_name", _TENANTS, place, _lane_name(*name)) for place, name in enumerate(names)],
        *map(_launch, launches),
        *[_request(record, threads[record.id]) for record in requests],
        *_arrows(launches, threads),
        *_group_sizes(launches),
        *_queue(requests),
    ]
    return msgspec.json.encode({"traceEvents": events, "displayTimeUnit": "ms"})


def first_fit(spans: Iterable[tuple[int, int]]) -> Iterator[int]:
    """For each span (start, end), in order of start, the lowest lane that is free by then.

    >>> list(first_fit([(0, 10), (5, 8), (8, 9), (10, 12)]))
    [0, 1, 1, 0]
    """
    free: list[int] = []
    busy: list[tuple[int, int]] = []  # end, lane
    for start, end in spans:
        while busy and busy[0][0] <= start:
            heappush(free, heappop(busy)[1])
        lane = heappop(free) if free else len(busy)
        heappush(busy, (end, lane))
        yield lane


def _tenant_lanes(requests: Iterable[RequestRecord]) -> dict[str, tuple[str, int]]:
    """For each id a lane, such that requests of a lane do not overlap; ``requests`` are in order of arrival."""
    by_tenant: dict[str, list[RequestRecord]] = {}
    for record in requests:
        by_tenant.setdefault(record.tenant, []).append(record)
    return {
        record.id: (tenant, lane)
        for tenant, records in by_tenant.items()
        for record, lane in zip(records, first_fit([(r.arrival, r.finished) for r in records]), strict=True)
    }


def _lane_name(tenant: str, place: int) -> str:
    return f"{tenant} ({place + 1})" if place else tenant


def _name(kind: str, process: int, thread: int, name: str) -> Event:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}


def _slice(name: str, category: str, process: int, thread: int, start: int, end: int, args: Event) -> Event:
    return {
        "ph": "X", "name": name, "cat": category, "pid": process, "tid": thread, "ts": start, "dur": end - start, "args": args,
    }  # fmt: skip


def _launch(launch: LaunchRecord) -> Event:
    args = {
        "segment": launch.segment,
        "slots": launch.num_slots,
        "rows": launch.num_rows,
        "reason": launch.reason,
        "members": launch.members,
    }
    return _slice(launch.family, "launch", _WORKERS, launch.lane, launch.at, launch.until, args)


def _request(record: RequestRecord, thread: int) -> Event:
    name = record.outcome if record.outcome != "done" or record.in_time else "done after its deadline"
    args = {"id": record.id, "slack_at_end_us": record.deadline - record.finished, "reason": record.reason}
    return _slice(name, "request", _TENANTS, thread, record.arrival, record.finished, args)


def _arrows(launches: Iterable[LaunchRecord], threads: dict[str, int]) -> Iterator[Event]:
    """From each request that is still in the ring to each launch it was in; both ends at the start of the launch."""
    number = 0
    for launch in launches:
        for member in launch.members:
            if member in threads:
                number += 1
                common = {"name": "launched", "cat": "member", "id": number, "ts": launch.at}
                yield {"ph": "s", "pid": _TENANTS, "tid": threads[member], **common}
                yield {"ph": "f", "bp": "e", "pid": _WORKERS, "tid": launch.lane, **common}


def _group_sizes(launches: Iterable[LaunchRecord]) -> Iterator[Event]:
    for launch in launches:
        name = f"slots of worker {launch.lane}"
        yield _count(name, launch.at, launch.num_slots)
        yield _count(name, launch.until, 0)


def _queue(requests: Iterable[RequestRecord]) -> Iterator[Event]:
    """Requests that have come and were not launched yet."""
    steps: list[tuple[int, int]] = []
    for record in requests:
        steps += [(record.arrival, 1), (record.finished if record.started is None else record.started, -1)]
    waiting = 0
    for at, change in sorted(steps, key=lambda step: (step[0], -step[1])):
        waiting += change
        yield _count("waiting", at, waiting)


def _count(name: str, at: int, value: int) -> Event:
    return {"ph": "C", "name": name, "pid": _WORKERS, "ts": at, "args": {"count": value}}

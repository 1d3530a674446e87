"""What is asked for, what is launched for it, and where it waits until then. Pure; times are integer microseconds.

A *line* holds the requests of one tenant at one segment: they share weights, so one slot of a launch can take several. A
*lane* holds the lines whose launches can be joined.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop
from typing import NamedTuple, final

from paceline.decision import Average, Option, Rate
from paceline.multiplex.load import SegmentCost
from paceline.multiplex.tenant import Tenant
from paceline.records import Outcome


@dataclass(slots=True, eq=False)
class Request:
    """Rows for one tenant. Whoever submits it fills the first block, the window keeps the rest.

    ``arrival`` and ``deadline`` are on the clock of the driver; if they are None, ``Window.submit`` sets them to its ``now``
    and to the tenant's SLO after that. ``priority`` orders the requests of one tenant, larger first; it never puts one
    tenant before another. ``state`` is the driver's own: inputs, tensors between two segments, whom to answer.

    A request of more rows than its tenant's ``max_rows`` runs in chunks: rows ``first_row`` to ``first_row + num_rows`` pass
    all segments, then come the next. ``outcome`` is None until it is over; ``reason`` says why it is not "done".
    """

    tenant: str
    rows: int
    arrival: int | None = None
    deadline: int | None = None
    priority: int = 0
    state: object = None
    id: str = ""

    segment: int = 0
    first_row: int = 0
    num_rows: int = 0  # of this chunk
    started: int | None = None  # when it was first launched
    finished: int | None = None
    outcome: Outcome | None = None
    reason: str = ""

    line: Line | None = field(default=None, repr=False)  # where it waits or runs; None before and after
    ticket: int = field(default=0, repr=False)  # its place in the order of arrival while it waits, else 0
    due: int = field(default=0, repr=False)  # when this chunk must have passed all segments
    latest: int = field(default=0, repr=False)  # when it must be launched to do so alone
    rank: int = field(default=0, repr=False)  # ``latest`` as it came in: what was begun goes before what is new
    hoped: bool = field(default=False, repr=False)  # let in though it is expected to be late
    share: int = field(default=0, repr=False)  # µs of the device that it counts for in the backlog

    @property
    def in_time(self) -> bool:
        """Whether it was finished by its deadline."""
        return self.outcome == "done" and self.deadline is not None and self.deadline >= (self.finished or 0)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """One launch. ``members`` are in the order of their tenants' registration, those of one tenant next to each other.

    Requests of one tenant at one segment share a slot, their rows one after the other: ``num_slots`` slots of
    ``rows_each`` rows, a power of two that includes the padding.
    """

    segment_key: str
    members: tuple[Request, ...]
    num_slots: int
    rows_each: int
    predicted_s: float
    reason: str
    started: int

    def tenants(self) -> Iterator[Tenant]:
        """Each tenant once; to be asked before the launch is committed."""
        last = None
        for request in self.members:
            assert request.line is not None
            tenant = request.line.tenant
            if tenant is not last:
                yield tenant
            last = tenant


@dataclass(frozen=True, slots=True)
class BundleResult:
    """What a launch gave. All members went one segment on but those whose places are in ``failed``.

    ``seconds``: from the start of packing to the last result. ``disturbed``: they tell nothing about the next launch of this
    kind (first use, members run again one by one), so nothing is learned from them.
    """

    seconds: float
    failed: frozenset[int] = frozenset()
    disturbed: bool = False


class Head(NamedTuple):
    """The first request of a line; ``ticket`` is the line's as long as this holds."""

    rank: int
    ticket: int
    line: Line


@final
class Line:
    """Requests of one tenant at one segment, the most urgent first."""

    __slots__ = ("entry", "index", "lane", "later", "next", "tenant", "ticket", "waiting")

    def __init__(self, tenant: Tenant, lane: Lane, index: int, following: Line | None) -> None:
        self.tenant = tenant
        self.lane = lane
        self.index = index  # order of members in a launch: that of registration, in which stacks are laid out
        self.next = following  # where its requests go on; None after the last segment
        self.entry = self  # where they came in
        for line in self.chain():
            line.entry = self
        self.later: tuple[Lane, ...] = () if following is None else (following.lane, *following.later)
        self.waiting: list[tuple[int, int, int, Request]] = []  # minus priority, rank, ticket
        self.ticket = 0  # of its head, 0 while it is empty

    def chain(self) -> Iterator[Line]:
        """This line and those after it."""
        line: Line | None = self
        while line is not None:
            yield line
            line = line.next

    @property
    def first(self) -> Request:
        return self.waiting[0][3]

    def need(self, num_slots: int, rows_each: int) -> int:
        """Microseconds to the end of the last segment, in groups of ``num_slots`` all the way."""
        need = self.lane.cost.predict(num_slots, rows_each)[1]  # the upper one: read for every request
        for later in self.later:
            need += later.cost.predict(num_slots, rows_each).upper
        return need


_index = operator.attrgetter("index")


@final
class Lane:
    """Lines whose launches can be joined."""

    __slots__ = (
        "cost", "gap", "heads", "held_since", "hoped_at", "joined", "joint", "key", "last_arrival", "later", "lines", "most", "num_held", "num_lines",
        "num_tenants", "option", "rows_each",
    )  # fmt: skip

    def __init__(self, key: str, cost: SegmentCost, *, joint: bool) -> None:
        self.key = key
        self.cost = cost
        self.joint = (
            joint  # False: one request a launch, for models that cannot be joined and requests of too many rows
        )
        self.lines: list[Line] = []
        self.most = 0  # slots that a launch of it could have
        self.num_tenants = 0  # a tenant may have lines at several depths
        self.num_lines = 0  # with requests that wait
        self.rows_each = 1  # of the newest request, padded
        self.later: tuple[Lane, ...] = ()  # where its newest request goes on
        self.option: Option[Lane] | None = None  # what launching it would bring; None: to be computed anew
        self.heads: list[Head] = []
        self.gap = Average(weight=0.05)  # µs between arrivals
        self.last_arrival: int | None = None
        self.held_since = 0  # if num_held
        self.hoped_at = -(1 << 62)  # when a request was let in on hope last
        self.num_held = 0  # lines that waited when its launch was first held, 0 if it is not
        self.joined = Rate(prior=(2.0, 1.0), decay=0.95)  # share of the launches that were held for which somebody came

    def enrol(self, line: Line) -> None:
        self.lines.append(line)
        self._count()

    def dismiss(self, line: Line) -> None:
        """Lets go of a line on which nothing waits."""
        self.lines.remove(line)
        self._count()

    def _count(self) -> None:
        self.most = len(self.lines) if self.joint else 1
        self.num_tenants = len({line.tenant for line in self.lines}) if self.joint else 1

    def waiting(self) -> list[Line]:
        """Lines on which something waits, in the order of registration."""
        lines = [head.line for head in self.heads if head.line.ticket == head.ticket]
        lines.sort(key=_index)
        return lines

    def pop(self) -> Line | None:
        """The line that comes next, out of the heap; None if there is none."""
        while self.heads:
            head = heappop(self.heads)
            if head.line.ticket == head.ticket:
                return head.line
        return None

    def arrived(self, now: int) -> None:
        """Learns how often something comes in."""
        if self.last_arrival is not None:
            self.gap.observe(now - self.last_arrival)
        self.last_arrival = now

    def hold(self, now: int) -> bool:
        """Whether its launch may be held: it is already, or more often than not somebody came when it was."""
        if not self.num_held:
            if self.joined.mean <= 0.5:
                self.joined.observe(0.0, 0.0)  # is forgotten, so that holding is tried again
                return False
            self.held_since, self.num_held = now, self.num_lines
        return True

    def launched(self) -> None:
        if self.num_held:
            self.joined.observe(float(self.num_lines > self.num_held))
            self.num_held = 0

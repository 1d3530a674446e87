"""Requests whose next segment could run now, in the order in which it should. Pure.

Requests are ranked by the time at which they must be launched at the latest; tenants that had more than their share stand
back by that much. Nothing is sorted anew in a call: each lane and the whole keep a heap of the first request of every line,
entries that are out of date are dropped when they come up.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import final

from paceline.multiplex.fairness import Shares
from paceline.multiplex.load import row_bucket
from paceline.multiplex.request import Head, Lane, Line, Request

_MIN_ENTRIES = 1024  # below this many in a heap it does not matter that most are out of date
_GRACE = 1000  # µs in which a request that is tried on hope must be launched


@final
class Ready:
    """All that waits, in all lanes."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._ticket = 0
        self._urgent: list[Head] = []
        self._ends: list[tuple[int, int, Request]] = []  # latest start, ticket
        self.joint: dict[Lane, None] = {}  # lanes with two lines or more, in order of becoming so
        self.num_waiting = 0
        self.num_lanes = 0  # with requests that wait
        self.backlog = 0  # µs of the device
        self.idle_since = -1  # when the newest launch ended

    # ── in ───────────────────────────────────────────────────────────────────────────────────

    def add(self, request: Request, line: Line, now: int) -> None:
        """A request waits at ``line``; its deadline is set."""
        lane = line.lane
        rows = lane.rows_each = row_bucket(request.num_rows)
        lane.later = line.later
        assert request.deadline is not None
        need = line.need(1, rows)
        due = request.deadline if lane.joint else request.deadline - _later_chunks(request, line)
        if request.hoped:
            due = max(due, now + need + _GRACE)
        share = lane.cost.share(lane.num_tenants, rows)
        for later in line.later:
            share += later.cost.share(later.num_tenants, rows)
        self._ticket += 1
        request.line, request.ticket, request.due, request.share = line, self._ticket, due, share
        request.latest = due - need
        if request.started is None:
            request.rank = request.latest
        line.tenant.backlog += share
        self.backlog += share
        self.num_waiting += 1
        heappush(self._ends, (request.latest, request.ticket, request))
        entry = (-request.priority, request.rank, request.ticket, request)
        if line.waiting and line.waiting[0] < entry:
            insort(line.waiting, entry)
            return
        if not line.waiting:
            self._opened(lane)
        line.waiting.insert(0, entry)
        self._announce(line)

    def _opened(self, lane: Lane) -> None:
        lane.option = None
        lane.num_lines += 1
        if lane.num_lines == 1:
            self.num_lanes += 1
        elif lane.num_lines == 2 and lane.joint:
            self.joint[lane] = None

    def _closed(self, line: Line) -> None:
        lane = line.lane
        line.ticket = 0
        lane.option = None
        lane.num_lines -= 1
        if lane.num_lines == 0:
            self.num_lanes -= 1
            lane.heads.clear()
        elif lane.num_lines == 1:
            self.joint.pop(lane, None)

    def _announce(self, line: Line) -> None:
        """Puts the first request of a line into the heaps."""
        self._ticket += 1
        line.ticket = self._ticket
        head = self._head(line)
        heappush(line.lane.heads, head)
        heappush(self._urgent, head)
        if len(self._urgent) > max(_MIN_ENTRIES, 4 * self.num_waiting):
            self._urgent = [head for head in self._urgent if head.line.ticket == head.ticket]
            heapify(self._urgent)

    def _head(self, line: Line) -> Head:
        tenant, request = line.tenant, line.waiting[0][3]
        rank = request.rank + self._shares.lead(tenant)
        if request.rows > tenant.max_rows:  # in the gaps of the others, or when it must
            rank += tenant.slo
        return Head(rank, line.ticket, line)

    # ── out ──────────────────────────────────────────────────────────────────────────────────

    def put_back(self, line: Line) -> None:
        """A line that was popped from its lane comes next again some time."""
        heappush(line.lane.heads, self._head(line))

    def take(self, line: Line, count: int) -> list[Request]:
        """The first ``count`` requests of a line that was popped; the rest waits on."""
        taken = [entry[3] for entry in line.waiting[:count]]
        del line.waiting[:count]
        for request in taken:
            self._left(request, line)
        if line.waiting:
            self._announce(line)
        else:
            self._closed(line)
        return taken

    def take_all(self, lane: Lane, lines: Sequence[Line]) -> list[Request]:
        """What waits in a lane: one request on each of these lines, and nothing on others."""
        taken = [line.waiting.pop()[3] for line in lines]
        for request, line in zip(taken, lines, strict=True):
            request.ticket = line.ticket = 0
            line.tenant.backlog -= request.share
            self.backlog -= request.share
        self.num_waiting -= len(taken)
        lane.option, lane.num_lines = None, 0
        lane.heads.clear()
        self.num_lanes -= 1
        self.joint.pop(lane, None)
        self._forget()
        return taken

    def _left(self, request: Request, line: Line) -> None:
        request.ticket = 0
        line.tenant.backlog -= request.share
        self.backlog -= request.share
        self.num_waiting -= 1
        self._forget()

    def _forget(self) -> None:
        """What is left in the heaps when nothing waits is out of date."""
        if not self.num_waiting:
            self._urgent.clear()
            self._ends.clear()

    def remove(self, request: Request) -> None:
        """Takes out a request that waits, wherever it is."""
        line = request.line
        assert line is not None, "only what waits can be removed"
        place = next(place for place, entry in enumerate(line.waiting) if entry[3] is request)
        del line.waiting[place]
        self._left(request, line)
        if not line.waiting:
            self._closed(line)
        elif place == 0:
            self._announce(line)

    def late(self, now: int) -> Iterator[Request]:
        """Takes out what could not end in time any more, even if it were launched now and alone."""
        ends = self._ends
        while ends and (ends[0][0] < now or ends[0][2].ticket != ends[0][1]):
            _, ticket, request = heappop(ends)
            if request.ticket == ticket:
                self.remove(request)
                yield request
        if len(ends) > max(_MIN_ENTRIES, 4 * self.num_waiting):
            self._ends = [entry for entry in ends if entry[2].ticket == entry[1]]
            heapify(self._ends)

    # ── who is next ──────────────────────────────────────────────────────────────────────────

    def most_urgent(self) -> Head | None:
        """The line that must be launched first."""
        urgent = self._urgent
        while urgent:
            head = urgent[0]
            if head.line.ticket == head.ticket:
                return head
            heappop(urgent)
        return None

    def first_end(self) -> int | None:
        """The earliest of all latest starts."""
        ends = self._ends
        while ends and ends[0][2].ticket != ends[0][1]:
            heappop(ends)
        return ends[0][0] if ends else None

    def check(self, lanes: Sequence[Lane]) -> None:
        """Counts must agree with what waits; run when idle and in tests."""
        lines = [line for lane in lanes for line in lane.lines]
        waiting = [entry[3] for line in lines for entry in line.waiting]
        assert len(waiting) == self.num_waiting
        assert sum(request.share for request in waiting) == self.backlog
        assert all(request.ticket and request.outcome is None for request in waiting)
        for lane in lanes:
            assert lane.num_lines == sum(bool(line.waiting) for line in lane.lines)
            assert (lane in self.joint) == (lane.joint and lane.num_lines > 1)
            current = [head.line for head in lane.heads if head.line.ticket == head.ticket]
            assert sorted(line.index for line in current) == sorted(line.index for line in lane.lines if line.waiting)


def _later_chunks(request: Request, line: Line) -> int:
    """Microseconds that the chunks after this one take."""
    max_rows = line.tenant.max_rows
    num_chunks = -(-(request.rows - request.first_row - request.num_rows) // max_rows)
    return num_chunks * line.entry.need(1, row_bucket(max_rows))

"""The policy: which requests to launch together now, or until when to hold them. Pure.

Useful work of a launch is what its members would take alone, so work per second is what coalescing gains. The lane that
gains most goes first, as long as the most urgent request has time for that; else its own lane goes. A device that could work
works; a launch is held only if those who are expected to join save more than the device loses by standing still.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Literal, TypeAlias, final

from paceline.clock import MICROSECONDS
from paceline.decision import Option, best
from paceline.errors import ConfigError
from paceline.multiplex.load import Cost, SegmentCost, row_bucket
from paceline.multiplex.ready import Ready
from paceline.multiplex.request import Head, Lane, Line, Request
from paceline.scheduling import Wait

Reason: TypeAlias = Literal["urgent", "gain", "only", "trial"]

_MAX_RAISE = 1.25  # nobody's rows make a launch of others longer than this
_MIN_GAPS = 8  # between arrivals, before their mean says anything
_MAX_HOLD = 0.5  # of the launch that is held
_CROWDED = 0.25  # of the time that is left, as backlog: from here on there is not enough for everyone
_RESERVE = 0.5  # of the time that the most urgent request has is kept for launches that take longer than predicted
_MAX_PASSED = 64  # lines that a launch looks at and leaves where they are


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """What to launch: from each line its first requests.

    ``reason``: ``urgent``: the most urgent request is among them; ``gain``: coalescing gains most here, and the most urgent
    can wait; ``only``: nothing else waits; ``trial``: to see whether larger groups are better than they look. ``is_all``:
    nothing else waits in this lane, and the lines are in the order of registration.
    """

    lane: Lane
    lines: list[Line]
    counts: list[int]
    rows_each: int
    cost: Cost
    reason: Reason
    is_all: bool = False

    def take(self, ready: Ready) -> list[Request]:
        """Its requests in the order of their tenants' registration; they wait no more."""
        if self.is_all:
            return ready.take_all(self.lane, self.lines)
        pairs = sorted(zip(self.lines, self.counts, strict=True), key=lambda pair: pair[0].index)
        return [request for line, count in pairs for request in ready.take(line, count)]


@final
class Coalesce:
    """Earliest deadline first with slack, the largest gain otherwise. ``max_group``: slots in a launch."""

    def __init__(self, max_group: int = 64) -> None:
        if max_group < 1:
            raise ConfigError(f"max_group must be >= 1, got {max_group}")
        self._max_group = max_group

    def choose(self, ready: Ready, now: int) -> Group | Wait:
        """The next launch; its lines are out of their lane's heap and must be taken from."""
        head = ready.most_urgent()
        if head is None:
            return Wait(None)
        lane = head.line.lane
        reason: Reason = "only"
        if ready.num_lanes > 1:
            lane, reason = self._lane(ready, head, now)
        else:
            until = self._hold(ready, head, now)
            if until is not None:
                return Wait(until)
        lane.launched()
        return self._gather(ready, lane, reason, now)

    # ── which lane ───────────────────────────────────────────────────────────────────────────

    def _lane(self, ready: Ready, head: Head, now: int) -> tuple[Lane, Reason]:
        own, first = head.line.lane, head.line.first
        assert first.arrival is not None
        latest = head.rank - first.rank + first.latest
        spare = latest - now - int(_RESERVE * (latest - first.arrival))
        if spare <= 0 or not ready.joint:
            return own, "urgent"
        choice = best([self._option(lane) for lane in ready.joint], spare / MICROSECONDS)
        if not choice.meets_deadline or choice.option.goodput <= self._option(own).goodput:
            return own, "urgent"
        return choice.value, "gain"

    def _option(self, lane: Lane) -> Option[Lane]:
        if lane.option is None:
            size, rows = min(lane.num_lines, self.size(lane)), lane.rows_each
            this = lane.cost.predict(size, rows)
            rest = sum([later.cost.predict(size, rows).mean for later in lane.later])
            seconds = max(1, this.mean + rest) / MICROSECONDS
            # Whoever waits for a launch waits for nothing that comes after it, so only its own end is held against slack.
            lane.option = Option(lane, size, seconds, this.upper / MICROSECONDS - seconds)
        return lane.option

    def size(self, lane: Lane) -> int:
        """Slots of the group that is best for a lane, if enough wait."""
        most = lane.most
        return lane.cost.best_size(most if most < self._max_group else self._max_group)

    def _hold(self, ready: Ready, head: Head, now: int) -> int | None:
        """Until when the only lane should wait for more; None: launch it.

        Only what came in while the device stood still is held: when launches follow each other groups form by themselves. Each
        microsecond held costs one of the device and brings ``1 / gap`` members, each of which saves what a launch of its own
        would take more than joining does. It ends in time for everyone who waits, even in a full group.
        """
        lane, first = head.line.lane, head.line.first
        size, cost, rows, num = self.size(lane), lane.cost, lane.rows_each, lane.num_lines
        joins = num < size and not head.line.tenant.alone and lane.gap.count >= _MIN_GAPS
        assert first.arrival is not None
        if not joins or first.arrival <= ready.idle_since:
            return None
        alone, group, joined = cost.predict(1, rows), cost.predict(num, rows), cost.predict(num + 1, rows)
        if alone.mean - (joined.mean - group.mean) <= lane.gap.mean or not lane.hold(now):
            return None
        first_end = ready.first_end()
        assert first_end is not None
        end = first_end + head.line.need(1, rows) - head.line.need(size, rows)
        until = min(lane.held_since + int(_MAX_HOLD * group.mean), end)
        return until if until > now else None

    # ── who is in it ─────────────────────────────────────────────────────────────────────────

    def _gather(self, ready: Ready, lane: Lane, reason: Reason, now: int) -> Group:
        size = usual = self.size(lane)
        if size < lane.num_lines and lane.joint:
            size = lane.cost.trial_size(usual, min(lane.num_lines, self._max_group)) or usual
        everybody = _everybody(lane, reason, now) if lane.num_lines <= size else None
        if everybody is not None:
            return everybody
        lines, rows, tight, passed = _join(lane, size, now)
        if tight:
            lines, left = _in_time(lines, tight, rows, ready.backlog, now)
            passed += left
        for line in passed:
            ready.put_back(line)
        if len(lines) > usual:
            reason = "trial"
        return _fill(lane, lines, rows, reason, now)


def _everybody(lane: Lane, reason: Reason, now: int) -> Group | None:
    """What ``_join`` and ``_fill`` come to when all that waits fits, found without asking who is first; None if that is not so."""
    lines = lane.waiting()
    rows = row_bucket(lines[0].first.num_rows)
    cost = lane.cost.predict(len(lines), rows)
    end = now + cost.upper
    for line in lines:
        if len(line.waiting) > 1 or line.later or line.tenant.alone:
            return None
        request = line.waiting[0][3]
        if request.due < end or (request.num_rows != rows and row_bucket(request.num_rows) != rows):
            return None
    return Group(lane, lines, [1] * len(lines), rows, cost, reason, is_all=True)


def _join(lane: Lane, size: int, now: int) -> tuple[list[Line], int, list[Line], list[Line]]:
    """Up to ``size`` lines in order of rank and the rows of each; then lines for which so large a group ends too late,
    and lines that do not fit."""
    cost, expected = lane.cost, min(size, lane.num_lines)
    lines: list[Line] = []
    tight: list[Line] = []
    passed: list[Line] = []
    rows = 0
    while len(lines) < size and len(tight) + len(passed) < _MAX_PASSED:
        line = lane.pop()
        if line is None:
            break
        each = row_bucket(line.waiting[0][3].num_rows)
        if not rows:
            if line.tenant.alone:
                return [line], each, tight, passed
            rows = each
        elif line.tenant.alone or (each != rows and not _fits(cost, len(lines), rows, each)):
            passed.append(line)
            continue
        elif each > rows:
            rows = each
        if line.waiting[0][3].due < now + line.need(expected, rows):
            tight.append(line)
        else:
            lines.append(line)
    return lines, rows, tight, passed


def _fits(cost: SegmentCost, num_slots: int, rows: int, each: int) -> bool:
    """Whether a slot of ``each`` rows should join ``num_slots`` slots of ``rows`` rows."""
    num_slots = max(1, num_slots)
    joined = cost.predict(num_slots + 1, max(rows, each)).mean
    separate = cost.predict(num_slots, rows).mean + cost.predict(1, each).mean
    return joined < separate and joined <= _MAX_RAISE * cost.predict(num_slots + 1, rows).mean


def _in_time(roomy: list[Line], tight: list[Line], rows: int, backlog: int, now: int) -> tuple[list[Line], list[Line]]:
    """The lines to launch and those to leave, if the ``tight`` have no time for a launch of all.

    Small groups of the most urgent, one after the other, are slow, and what waits behind them gets late in turn. So they go
    first only if there is not much and the others can wait for them; else whoever leaves the most work in time per second
    goes, and those who could be saved only at that price are given up.
    """
    urgent = sorted(tight, key=_due)
    num_tight = len(urgent)
    urgent += sorted(roomy, key=_due)
    options: list[Option[slice]] = []
    for skip in sorted({0, num_tight // 2, num_tight}):
        size = _largest(urgent[skip], len(urgent) - skip, rows, now) if skip < len(urgent) else 0
        if size:
            seconds = max(1, urgent[skip].need(size, rows)) / MICROSECONDS
            options.append(Option(slice(skip, skip + size), size, seconds))
    if not options:  # late by now: the estimates have changed since they came in
        return urgent[:1], urgent[1:]
    chosen = options[0].value
    last = urgent[-1]
    crowded = backlog > _CROWDED * (_due(last) - now - last.need(1, rows))
    end = now + last.lane.cost.predict(chosen.stop - chosen.start, rows).upper
    if crowded or not _can_wait(roomy, rows, end):
        chosen = best(options).value
    return urgent[chosen], urgent[: chosen.start] + urgent[chosen.stop :]


def _due(line: Line) -> int:
    return line.waiting[0][3].due


def _largest(line: Line, most: int, rows: int, now: int) -> int:
    """The largest of some sizes of a group with ``line`` that is in time for it; 0 if none is."""
    size = most
    while size and now + line.need(size, rows) > _due(line):
        size //= 2
    return size


def _can_wait(lines: list[Line], rows: int, until: int) -> bool:
    """Whether all of ``lines``, launched together then, are in time."""
    return all(until + line.need(len(lines), rows) <= _due(line) for line in lines)


def _fill(lane: Lane, lines: list[Line], rows: int, reason: Reason, now: int) -> Group:
    """Adds further requests of the same lines: their rows go where padding would be, or make it longer if that gains."""
    num_slots, cost = len(lines), lane.cost
    deep = [line for line in lines if len(line.waiting) > 1] if lane.joint else []
    if not deep:
        return Group(lane, lines, [1] * num_slots, rows, cost.predict(num_slots, rows), reason)
    limit = _MAX_RAISE * cost.predict(num_slots, rows).mean if len(deep) < num_slots else math.inf
    first = min(lines, key=_due)
    options: list[Option[tuple[int, list[int]]]] = []
    wide, widest = rows, row_bucket(max(line.tenant.max_rows for line in deep))
    while wide <= widest:
        each = cost.predict(num_slots, wide)
        if wide > rows and (each.mean > limit or now + first.need(num_slots, wide) > _due(first)):
            break
        counts = [_num_fitting(line, wide) for line in lines]
        options.append(Option((wide, counts), sum(counts), max(1, each.mean) / MICROSECONDS))
        if sum(counts) == sum([len(line.waiting) for line in lines]):
            break
        wide *= 2
    wide, counts = best(options).value
    return Group(lane, lines, counts, wide, cost.predict(num_slots, wide), reason)


def _num_fitting(line: Line, rows: int) -> int:
    """How many of a line's requests fit in a slot of ``rows`` rows; the first always does."""
    if len(line.waiting) == 1:
        return 1
    room = min(rows, line.tenant.max_rows)
    sums = accumulate([entry[3].num_rows for entry in line.waiting])
    return max(1, sum([1 for _ in takewhile(lambda total: total <= room, sums)]))

"""Which requests go to which server, and when. Pure: time comes in as ``now``, in microseconds.

Each server (replica) is a lane with stretches of the order of its own, so that what belongs together meets in one
prefix cache. A lane has as many requests in flight as its window allows; the window grows while answers come and
shrinks when the server says that it has too much to do. A request whose beginning is being computed for one before it
waits for that one; those behind it that need not wait go first.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NamedTuple, final

from paceline.clock import to_microseconds
from paceline.errors import ConfigError
from paceline.scheduling import Wait
from paceline.sql.clients.lane import Entry, Lane, State

_SHRINK: Final = 0.7  # as TCP CUBIC: half is too timid where refusals are random
_UNKNOWN: Final = 1 << 62


class Outcome(Enum):
    """How a request ended, as far as pacing is concerned."""

    ANSWERED = auto()  # the server works, whatever the answer is worth
    BUSY = auto()  # refused for now; nothing was computed
    LATE = auto()  # no answer in time
    BROKEN = auto()  # the connection was lost, or the server failed
    UNREACHED = auto()  # no connection; nothing was sent


@dataclass(frozen=True, slots=True, kw_only=True)
class PacingOptions:
    """What a user may choose about pacing.

    >>> PacingOptions(max_window=0)
    Traceback (most recent call last):
        ...
    paceline.errors.ConfigError: max_window must be >= 1, got 0
    """

    max_window: int = 64  # most requests in flight at one server
    first_window: int = 8
    hold_chars: int = 256  # a request waits for one before it that computes so many characters for both,
    hold_s: float = 10.0  # but not longer than this
    backoff_s: float = 0.5  # the first pause after a failure; each further one is twice as long
    max_backoff_s: float = 30.0
    failures_to_open: int = 4  # in a row, before a server is only probed, with one request at a time

    def __post_init__(self) -> None:
        for name in ("max_window", "first_window", "hold_chars", "hold_s", "backoff_s", "failures_to_open"):
            value, least = getattr(self, name), 0 if name.endswith("_s") else 1
            if value < least:
                raise ConfigError(f"{name} must be >= {least}, got {value}")


class Send(NamedTuple):
    """Send request ``number`` to server ``lane``."""

    number: int
    lane: int


@final
class Pacer:
    """Spreads an order of requests over servers.

    >>> pacer = Pacer(1, PacingOptions())
    >>> for number, shared in enumerate((0, 900, 900)):
    ...     pacer.submit(number, num_chars=1000, shared=shared)
    >>> pacer.schedule(0)
    (Send(number=0, lane=0),)
    >>> pacer.commit(Send(0, 0), Outcome.ANSWERED, 5)
    >>> pacer.schedule(5)
    (Send(number=1, lane=0), Send(number=2, lane=0))
    """

    def __init__(self, num_lanes: int, options: PacingOptions, seed: int | None = None) -> None:
        self._options = options
        self._hold_us = to_microseconds(options.hold_s)
        self._random = random.Random(seed)
        first = float(min(options.first_window, options.max_window))
        self._lanes = [Lane(first) for _ in range(num_lanes)]
        self._sent: dict[Send, Entry] = {}
        self._static = _UNKNOWN  # characters that all requests begin with

    def submit(self, number: int, *, num_chars: int, shared: int) -> None:
        """Takes in the next request of the order; ``shared`` of its characters are those of the one before."""
        if any(lane.trail for lane in self._lanes):
            self._static = min(self._static, shared)
        for lane in self._lanes:
            lane.reach = min(lane.reach, shared)
        usable = self._usable()
        lane = max(usable, key=lambda lane: lane.reach)  # what begins alike stays together, until others run dry
        if lane.reach - self._static < self._options.hold_chars:
            lane = min(usable, key=lambda lane: lane.backlog)
        lane.trail.append(Entry(number, num_chars, lane.reach))
        lane.reach = num_chars

    def schedule(self, now: int) -> tuple[Send, ...] | Wait:
        """What to send now; every one of it must be committed some time."""
        self._share_out(now)
        sends: list[Send] = []
        moments: list[int] = []
        for index, lane in enumerate(self._lanes):
            if lane.resume > now:
                moments.append(lane.resume)
            elif lane.room > 0:
                sends += self._fill(index, lane, now)
                moments += lane.moments(self._hold_us, now)
        return tuple(sends) if sends else Wait(min(moments, default=None))

    def commit(
        self, send: Send, outcome: Outcome, now: int, *, again: bool = False, retry_after_s: float | None = None
    ) -> None:
        """Learns how a request ended. ``again``: it has to be sent once more."""
        entry, lane = self._sent.pop(send), self._lanes[send.lane]
        lane.in_flight -= 1
        entry.state = State.WAITING if again else State.GIVEN_UP
        if outcome is Outcome.ANSWERED:
            entry.state = State.WAITING if again else State.ANSWERED
            self._note_answer(lane)
        else:
            entry.num_failures += 1
            entry.not_before = now + self._pause(entry.num_failures)
            if outcome is Outcome.BUSY and retry_after_s is not None:
                entry.not_before = 0  # the server knows better
                lane.resume = max(lane.resume, now + to_microseconds(retry_after_s))
            if outcome in (Outcome.BUSY, Outcome.LATE):
                self._shrink(lane, entry.sent, now)
            if outcome is not Outcome.BUSY:
                self._note_failure(lane, entry, now)
        lane.forget_past()

    def clear(self) -> None:
        """Forgets all requests, not what is known of the servers."""
        self._sent.clear()
        self._static = _UNKNOWN
        for lane in self._lanes:
            lane.trail, lane.reach, lane.in_flight = [], 0, 0

    def _usable(self) -> list[Lane]:
        return [lane for lane in self._lanes if lane.opened is None] or self._lanes

    def _fill(self, index: int, lane: Lane, now: int) -> Iterator[Send]:
        for entry in lane.ready(self._options.hold_chars, now - self._hold_us, now):
            entry.state, entry.sent = State.SENT, now
            lane.in_flight += 1
            send = Send(entry.number, index)
            self._sent[send] = entry
            yield send
            if lane.room <= 0:
                return

    def _share_out(self, now: int) -> None:
        """Gives what waits at a server that is down, or behind many others, to one that has nothing to do.

        A server that may be up again gets one request to show it.
        """
        if len(self._lanes) == 1:
            return
        usable = self._usable()
        for lane in self._lanes:
            if lane not in usable and lane.resume > now and (stuck := lane.waiting()):
                self._move(stuck, lane, min(usable, key=lambda lane: lane.backlog))
        for idle in self._lanes:
            longest = max(usable, key=lambda lane: len(lane.waiting()))
            spare = longest.waiting()[max(longest.room, 1) :]
            if spare and idle.room > 0 and idle.resume <= now and not idle.waiting():
                self._move(spare[len(spare) // 2 :] if idle in usable else spare[-1:], longest, idle)

    def _move(self, entries: list[Entry], source: Lane, target: Lane) -> None:
        reach = source.reach
        moved = source.remove(entries)
        moved[0].joint = 0
        target.trail += moved
        target.reach = reach if source.reach == 0 else 0

    def _note_answer(self, lane: Lane) -> None:
        lane.num_failures = lane.num_probes = 0
        lane.opened = None
        step = 1.0 if lane.shrunk < 0 else 1.0 / lane.window  # doubles in a round trip; later, one more in each
        lane.window = min(float(self._options.max_window), lane.window + step)

    def _shrink(self, lane: Lane, sent: int, now: int) -> None:
        if sent >= lane.shrunk:  # once for all that was sent before it was known
            lane.window = max(1.0, lane.window * _SHRINK)
            lane.shrunk = now

    def _note_failure(self, lane: Lane, entry: Entry, now: int) -> None:
        lane.num_failures += 1
        if lane.opened is not None and entry.sent <= lane.opened:
            return  # sent before it was known that the server is down
        if lane.num_failures >= self._options.failures_to_open:
            lane.opened = now
            lane.num_probes += 1
            lane.resume = max(lane.resume, now + self._pause(lane.num_probes))

    def _pause(self, num_failures: int) -> int:
        """Microseconds to wait, from half of the full time on, so that many clients do not return as one."""
        options = self._options
        seconds = min(options.max_backoff_s, options.backoff_s * 2.0 ** min(num_failures - 1, 32))
        return to_microseconds(seconds * self._random.uniform(0.5, 1.0))

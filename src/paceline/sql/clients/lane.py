"""One server's part of an order of requests: what may be sent now, and how well the server is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import takewhile
from typing import Final

_UNKNOWN: Final = 1 << 62


class State(Enum):
    WAITING = auto()
    SENT = auto()
    ANSWERED = auto()
    GIVEN_UP = auto()


@dataclass(slots=True, eq=False)
class Entry:
    """A request in a lane's part of the order."""

    number: int
    num_chars: int
    joint: int  # characters that the entry before it begins with too
    state: State = State.WAITING
    sent: int = 0
    not_before: int = 0
    num_failures: int = 0

    @property
    def cost(self) -> int:
        """Characters to compute, as far as can be known."""
        return self.num_chars - self.joint


@dataclass(slots=True, eq=False)
class Lane:
    """One server: its part of the order, how much it is sent, and whether it is well."""

    window: float
    trail: list[Entry] = field(default_factory=list)  # from the last answer before which none is missing
    reach: int = 0  # characters that the next request of the order shares with the last in the trail
    in_flight: int = 0
    resume: int = 0  # nothing is sent before
    num_failures: int = 0  # in a row
    opened: int | None = None  # since when the circuit is open: only a probe goes through
    num_probes: int = 0
    shrunk: int = -1  # when the window last met its limit; before the first time it grows fast

    @property
    def room(self) -> int:
        return int(self.window) - self.in_flight if self.opened is None else 1 - self.in_flight

    @property
    def backlog(self) -> int:
        return sum(entry.cost for entry in self.trail if entry.state in (State.WAITING, State.SENT))

    def waiting(self) -> list[Entry]:
        return [entry for entry in self.trail if entry.state is State.WAITING]

    def ready(self, hold: int, since: int, now: int) -> Iterator[Entry]:
        """What may be sent, in order. Whoever takes one marks it as sent before asking for the next.

        What shares ``hold`` characters with one that was sent after ``since`` waits for that one.
        """
        found = coming = 0  # characters of a request's beginning that are computed; that are on their way
        for entry in self.trail:
            found, coming = min(found, entry.joint), min(coming, entry.joint)
            if entry.state is State.WAITING and entry.not_before <= now and coming - found < hold:
                yield entry
            if entry.state is State.ANSWERED:
                found = entry.num_chars
            elif entry.state is State.SENT and entry.sent > since:
                coming = entry.num_chars

    def moments(self, hold_us: int, now: int) -> list[int]:
        """When more may be ready without any news."""
        if not (waiting := self.waiting()):
            return []
        held_until = [entry.sent + hold_us for entry in self.trail if entry.state is State.SENT]
        return [moment for moment in (*held_until, *(entry.not_before for entry in waiting)) if moment > now]

    def forget_past(self) -> None:
        settled = takewhile(lambda entry: entry.state in (State.ANSWERED, State.GIVEN_UP), self.trail)
        answered = [place for place, entry in enumerate(settled) if entry.state is State.ANSWERED]
        del self.trail[: max(answered, default=0)]

    def remove(self, entries: Iterable[Entry]) -> list[Entry]:
        """Takes entries out; what each shares with the one before is kept right in both parts."""
        gone = set(map(id, entries))
        removed = _chain(self.trail, lambda entry: id(entry) in gone)
        kept = _chain(self.trail, lambda entry: id(entry) not in gone)
        last_goes = bool(self.trail) and id(self.trail[-1]) in gone
        for entry, joint in (*removed, *kept):
            entry.joint = joint
        self.trail = [entry for entry, _ in kept]
        if last_goes:
            self.reach = 0
        return [entry for entry, _ in removed]


def _chain(trail: Iterable[Entry], keep: Callable[[Entry], bool]) -> list[tuple[Entry, int]]:
    """The entries to keep, with what each shares with the kept one before it."""
    kept = []
    joint = _UNKNOWN
    for entry in trail:
        joint = min(joint, entry.joint)
        if keep(entry):
            kept.append((entry, joint))
            joint = _UNKNOWN
    return kept

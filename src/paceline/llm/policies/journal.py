"""The last decisions, kept as they fall and put into words only when somebody asks. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, final

from paceline.llm.speculation import Ask, Reasons

_KEPT = 64


class Entry(NamedTuple):
    at: int  # µs
    reason: str
    gain: float  # predicted, as a share of plain goodput
    asks: Sequence[Ask]
    predicted_s: float
    actual_s: float
    num_sequences: int
    num_nodes: int


@final
class Journal:
    """The latest 64.

    >>> journal = Journal()
    >>> journal.add(Entry(7, "pays", 0.5, [Ask("lookup", (0, 1), 4)], 0.010, 0.011, 2, 6))
    >>> journal.reasons()[0].option, journal.reasons()[0].reason
    ('lookup 4 for 2 of 2: 6 nodes', 'pays: +50.0 % predicted')
    """

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_KEPT)

    def add(self, entry: Entry) -> None:
        self._entries.append(entry)

    def reasons(self) -> tuple[Reasons, ...]:
        """Oldest first."""
        return tuple([
            Reasons(
                entry.at, _option(entry), f"{entry.reason}: {entry.gain:+.1%} predicted".replace("%", " %"),
                entry.predicted_s, entry.actual_s, entry.num_sequences, entry.num_nodes,
            )
            for entry in self._entries
        ])  # fmt: skip


def _option(entry: Entry) -> str:
    if not entry.asks:
        return "plain"
    asked = " + ".join(
        [
            f"{ask.proposer} {ask.depth or 'catches up'} for {len(ask.members)} of {entry.num_sequences}"
            for ask in entry.asks
        ]
    )
    return f"{asked}: {entry.num_nodes} nodes" if entry.num_nodes else f"{asked}, plain"

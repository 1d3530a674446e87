"""Interleaving: every round asks every arm once, in an order that rotates.

A shared host changes speed from minute to minute. Arms that are asked in the same round meet the
same weather; their ratio over rounds is what a comparison may report.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def rotated(arms: Sequence[T], turn: int) -> list[T]:
    """The arms, starting with the ``turn``-th: nobody is always first after the pause between rounds.

    >>> rotated(["a", "b", "c"], 4)
    ['b', 'c', 'a']
    """
    if not arms:
        return []
    start = turn % len(arms)
    return [*arms[start:], *arms[:start]]


def interleaved(arms: Sequence[T], num_rounds: int) -> Iterator[tuple[int, T]]:
    """(round, arm) for all rounds.

    >>> list(interleaved("ab", 2))
    [(0, 'a'), (0, 'b'), (1, 'b'), (1, 'a')]
    """
    for turn in range(num_rounds):
        for arm in rotated(arms, turn):
            yield turn, arm

"""Blocks of a family's stack: which slots run together though not all of them are wanted. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, TypeAlias, final

UNMEASURED: Final = 1.5
"""Gain of together over one by one that is taken for granted until it is measured."""

Run: TypeAlias = tuple[Sequence[int], Sequence[int]]
"""Slots that run, and those of them that are wanted."""


@final
class Blocks:
    """What so many slots gain together, and what follows from it."""

    def __init__(self) -> None:
        self._gains: dict[int, float] = {1: 1.0}

    @property
    def best_gain(self) -> float:
        """Nothing costs less than this."""
        return max(self._gains.values())

    def learn_gain(self, num_slots: int, gain: float) -> None:
        """So many slots together take ``1 / gain`` of the time that they take one by one."""
        self._gains[num_slots] = max(gain, 1.0)

    def gain(self, num_slots: int) -> float:
        """As measured for so many slots, or for the next smaller number that was measured."""
        known = max(size for size in self._gains if size <= num_slots)
        return self._gains[known] if known > 1 or num_slots == 1 else UNMEASURED

    def cheapest(self, start: int, size: int, members: Sequence[int], limit: int) -> tuple[float, list[Run]]:
        """The cheapest way to run ``members`` of the slots from ``start`` on, and what it costs in launches of one tenant.

        Blocks begin at multiples of their size, so there are few, and their programs are there when another set comes.
        """
        if len(members) < 2:
            return float(len(members)), [(members, members)] if members else []
        width = min(size, limit - start)
        whole = width / self.gain(width)
        half = size // 2
        cut = bisect_left(members, start + half)
        left_cost, left = self.cheapest(start, half, members[:cut], limit)
        right_cost, right = self.cheapest(start + half, half, members[cut:], limit)
        if whole <= left_cost + right_cost:
            return whole, [(range(start, start + width), members)]
        return left_cost + right_cost, left + right


def bucket_of(count: int) -> int:
    """The next power of two.

    >>> [bucket_of(count) for count in (1, 2, 3, 8, 9)]
    [1, 2, 4, 8, 16]
    """
    return 1 << (count - 1).bit_length()

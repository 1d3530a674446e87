"""Counts of sizes as Prometheus wants them."""

from __future__ import annotations

from collections.abc import Sequence


def buckets(counts: Sequence[int], bounds: Sequence[int]) -> list[tuple[str, float]]:
    """How many were at most as large as each bound, from how many were of size 1, 2, ….

    >>> buckets([5, 0, 2], [1, 2, 4])
    [('1.0', 5), ('2.0', 5), ('4.0', 7), ('+Inf', 7)]
    """
    return [*((f"{bound:.1f}", sum(counts[:bound])) for bound in bounds), ("+Inf", sum(counts))]

"""What no order can beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paceline.sql.items import Items
from paceline.sql.order.hits import numbered
from paceline.sql.order.kernels import allocating, inner
from paceline.sql.order.options import OrderOptions

_MAX_CELLS = 5_000_000  # compared for the neighbour bound
_SAMPLE = 256


def bounds(items: Items, options: OrderOptions | None = None) -> tuple[float, float]:
    """(simple, neighbour): two upper bounds on the hits of any order, in the weights of ``options``.

    Simple: every distinct value is sent at least once. Neighbour: a row finds no more than it shares with the row that
    is most like it; of an order's rows and the rows they resemble most, the heaviest spanning tree bounds the sum. On
    large tables the second is estimated from evenly spread rows, three standard errors added: the sample's word, not
    a proof.

    >>> codes = np.array([[0, 0], [0, 1], [1, 1]], np.int32)
    >>> bounds(Items(codes, (np.array([5.0, 5.0]), np.array([1.0, 1.0]))))
    (6.0, 6.0)
    """
    return simple_bound(items, options)[0], neighbour_bound(items, options)


def simple_bound(items: Items, options: OrderOptions | None = None) -> tuple[float, float]:
    """All weight, less that of every distinct value once; and all weight."""
    offsets, weights = _weighted(items, options)
    total = 0.0
    seen = np.zeros(len(weights), np.bool_)
    for f, offset in enumerate(offsets):
        numbers = offset + items.codes[:, f]
        total += float(weights[numbers].sum())
        seen[numbers] = True
    return total - float(weights[seen].sum()), total


def neighbour_bound(items: Items, options: OrderOptions | None = None) -> float:
    """What rows share with the rows most like them."""
    offsets, weights = _weighted(items, options)
    num_rows = items.num_rows
    if num_rows < 2:
        return 0.0
    group = np.full(items.num_fields, -1, np.int64)
    for number, members in enumerate(items.unordered):
        group[list(members)] = number
    num_cells = num_rows * items.codes.size
    if num_cells <= _MAX_CELLS:
        return float(_spanning(items.codes, offsets, weights, group))
    sample = max(8, min(_SAMPLE, _MAX_CELLS // items.codes.size))
    asked = np.linspace(0, num_rows - 1, sample).astype(np.int64)
    best = _nearest(items.codes, offsets, weights, group, asked)
    error = best.std(ddof=1) / np.sqrt(sample)
    return float(best.mean() + 3.0 * error) * num_rows


def _weighted(items: Items, options: OrderOptions | None) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    offsets, weights = numbered(items)
    return offsets, weights * weights if options is not None and options.weighting == "squared" else weights


@inner
def _overlap(
    codes: NDArray[np.int32],
    offsets: NDArray[np.int64],
    weights: NDArray[np.float64],
    group: NDArray[np.int64],
    r: int,
    s: int,
) -> float:
    """Weight of the items that two rows share."""
    shared = 0.0
    for f in range(codes.shape[1]):
        if group[f] < 0:
            if codes[r, f] == codes[s, f]:
                shared += weights[offsets[f] + codes[r, f]]
            continue
        for g in range(codes.shape[1]):
            if group[g] == group[f] and codes[s, g] == codes[r, f]:
                shared += weights[offsets[f] + codes[r, f]]
                break
    return shared


@allocating
def _spanning(
    codes: NDArray[np.int32], offsets: NDArray[np.int64], weights: NDArray[np.float64], group: NDArray[np.int64]
) -> float:
    """Weight of the heaviest tree over all rows (Prim): an order is a path, so a tree, and hits are at most overlaps."""
    num_rows = len(codes)
    reach = np.full(num_rows, -1.0)
    inside = np.zeros(num_rows, np.bool_)
    total, last = 0.0, 0
    for _ in range(num_rows - 1):
        inside[last] = True
        best = -1
        for r in range(num_rows):
            if not inside[r]:
                reach[r] = max(reach[r], _overlap(codes, offsets, weights, group, last, r))
                if best < 0 or reach[r] > reach[best]:
                    best = r
        total += reach[best]
        last = best
    return total


@allocating
def _nearest(
    codes: NDArray[np.int32],
    offsets: NDArray[np.int64],
    weights: NDArray[np.float64],
    group: NDArray[np.int64],
    asked: NDArray[np.int64],
) -> NDArray[np.float64]:
    best = np.zeros(len(asked))
    for i in range(len(asked)):
        for r in range(len(codes)):
            if r != asked[i]:
                best[i] = max(best[i], _overlap(codes, offsets, weights, group, asked[i], r))
    return best

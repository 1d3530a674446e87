"""One order of fields for all rows, improved by swapping neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paceline.sql.order.kernels import allocating, child, num_slots

_MAX_PASSES = 6


def preference(items: NDArray[np.int32], weights: NDArray[np.float64]) -> NDArray[np.int16]:
    """Fields in the order that, kept by every row, saves most as far as swaps of neighbours can tell.  # [F]

    Starts from long fields that repeat: mean weight squared, times the rows that a value beyond its first spares.
    """
    spared, mean = _field_statistics(items, weights)
    order = np.argsort(-(mean**2) * spared, kind="stable").astype(np.int16)
    return _swap_neighbours(items, weights, order, _MAX_PASSES)


@allocating
def _field_statistics(
    items: NDArray[np.int32], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    num_rows, num_fields = items.shape
    spared, mean = np.zeros(num_fields), np.zeros(num_fields)
    for f in range(num_fields):
        seen = np.zeros(len(weights), np.bool_)
        for r in range(num_rows):
            spared[f] += seen[items[r, f]]
            seen[items[r, f]] = True
            mean[f] += weights[items[r, f]] / num_rows
    return spared, mean


@allocating
def _swap_neighbours(
    items: NDArray[np.int32], weights: NDArray[np.float64], order: NDArray[np.int16], max_passes: int
) -> NDArray[np.int16]:
    """A swap changes the savings of two levels alone; each pass walks from the front and keeps what is better."""
    num_rows = len(items)
    for _ in range(max_passes):
        rows, group, changed = np.arange(num_rows), np.zeros(num_rows, np.int32), False
        for i in range(len(order) - 1):
            here, there = order[i], order[i + 1]
            first = _level(items, weights, rows, group, here)
            swapped = _level(items, weights, rows, group, there)
            kept_value = first[2] + _level(items, weights, first[0], first[1], there)[2]
            if swapped[2] + _level(items, weights, swapped[0], swapped[1], here)[2] > kept_value * (1.0 + 1e-12):
                order[i], order[i + 1], first, changed = there, here, swapped, True
            rows, group = first[0], first[1]
        if not changed:
            break
    return order


@allocating
def _level(
    items: NDArray[np.int32],
    weights: NDArray[np.float64],
    rows: NDArray[np.int64],
    group: NDArray[np.int32],
    field: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32], float]:
    """Splits groups of rows by a field: the rows that are not alone, their groups, and what the level saves."""
    keys = np.full(num_slots(len(rows)), -1, np.int64)
    nodes = np.empty(len(keys), np.int32)
    size = np.zeros(len(rows), np.int32)
    split = np.empty(len(rows), np.int32)
    fresh = 0
    for i in range(len(rows)):
        key = group[i] * np.int64(len(weights)) + items[rows[i], field]
        split[i] = child(keys, nodes, key, fresh)
        fresh += split[i] == fresh
        size[split[i]] += 1
    saved, kept = 0.0, 0
    next_rows, next_group = np.empty(len(rows), np.int64), np.empty(len(rows), np.int32)
    for i in range(len(rows)):
        if size[split[i]] > 1:
            next_rows[kept], next_group[kept] = rows[i], split[i]
            saved += weights[items[rows[i], field]] * (1.0 - 1.0 / size[split[i]])
            kept += 1
    return next_rows[:kept].copy(), next_group[:kept].copy(), saved


def sort_rows(codes: NDArray[np.int32], fields: NDArray[np.int64] | list[int]) -> NDArray[np.int64]:
    """Rows in lexicographic order of their codes in these fields, equal ones as they stand.

    >>> sort_rows(np.array([[1, 0], [0, 1], [0, 0]], np.int32), [0, 1]).tolist()
    [2, 1, 0]
    """
    keys: list[NDArray[np.int64]] = [np.zeros(len(codes), np.int64)]
    room = 62
    for f in fields:  # as many fields as 62 bits hold are one key: a sort costs by its keys
        bits = int(codes[:, f].max(initial=0)).bit_length()
        if bits > room:
            keys.append(np.zeros(len(codes), np.int64))
            room = 62
        keys[-1] = (keys[-1] << bits) | codes[:, f]
        room -= bits
    return np.lexsort(keys[::-1])

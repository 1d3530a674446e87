"""Exact hits of any order: every cell counts that the cache still holds when its row is sent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paceline.sql.items import Items
from paceline.sql.order.kernels import allocating, child, compiled, inner, num_slots
from paceline.sql.order.options import OrderOptions


def evaluate(
    items: Items,
    rows: NDArray[np.int64],
    permutations: NDArray[np.int16],
    permutation_of: NDArray[np.int32],
    options: OrderOptions | None = None,
) -> float:
    """Weight of the cells found in the cache when row ``rows[i]`` is sent as number ``i``; the static prompt is not in it.

    A cell is found as a whole or not at all, and only behind cells that are found too. With blocks the tokens of a
    row's prefix, static ones included, are rounded down to whole blocks. O(N · M).

    >>> items = Items(np.array([[0, 0], [0, 1]], np.int32), (np.array([5.0]), np.array([1.0, 1.0])))
    >>> evaluate(items, np.arange(2), np.array([[0, 1]], np.int16), np.zeros(2, np.int32))
    5.0
    """
    options = options or OrderOptions()
    offsets, weights = numbered(items)
    if options.weighting == "squared":
        weights = weights * weights
    order = (items.codes, offsets, weights, rows, permutations, permutation_of)
    rule = (float(options.static), options.block, options.minimum)
    if options.cache_tokens == 0:
        return float(_previous_row(*order, *rule))
    if options.cache_tokens is None:
        return float(_unbounded(*order, *rule))
    return float(_least_recently_used(*order, *rule, max(0.0, options.cache_tokens - options.static)))


def evaluate_depth_first(
    items: Items,
    rows: NDArray[np.int64],
    permutations: NDArray[np.int16],
    permutation_of: NDArray[np.int32],
    options: OrderOptions,
) -> float:
    """As ``evaluate`` for an order that visits its prefix tree depth first: the row before is all the cache needs."""
    offsets, weights = numbered(items)
    if options.weighting == "squared":
        weights = weights * weights
    rule = (float(options.static), options.block, options.minimum)
    return float(_previous_row(items.codes, offsets, weights, rows, permutations, permutation_of, *rule))


def paths(
    items: Items, rows: NDArray[np.int64], permutations: NDArray[np.int16], permutation_of: NDArray[np.int32]
) -> NDArray[np.int64]:
    """The items of each row in its own order.  # [N, M]"""
    offsets, _ = numbered(items)
    fields = permutations[permutation_of].astype(np.int64)
    return offsets[fields] + items.codes[rows[:, None], fields]


def numbered(items: Items) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Where the values of each field start in one numbering of all values, and the weights in that numbering."""
    sizes = [len(w) for w in items.weights]
    offsets = np.cumsum([0, *sizes])[:-1].astype(np.int64)
    for group in items.unordered:
        offsets[list(group)] = offsets[group[0]]
    return offsets, np.concatenate([np.zeros(0), *items.weights])


@inner
def _counted(found: float, static: float, block: int, minimum: int) -> float:
    """Of ``found`` tokens of data behind the static prompt, those that whole blocks hold."""
    if block == 1 and minimum == 0:
        return found
    held = np.floor((static + found) / block) * block
    return max(0.0, held - static) if held >= minimum else 0.0


@compiled
def _previous_row(
    codes: NDArray[np.int32],
    offsets: NDArray[np.int64],
    weights: NDArray[np.float64],
    rows: NDArray[np.int64],
    permutations: NDArray[np.int16],
    permutation_of: NDArray[np.int32],
    static: float,
    block: int,
    minimum: int,
) -> float:
    hits = 0.0
    for i in range(1, len(rows)):
        before, row = rows[i - 1], rows[i]
        theirs, ours = permutation_of[i - 1], permutation_of[i]
        found = 0.0
        for p in range(permutations.shape[1]):
            f, g = permutations[ours, p], permutations[theirs, p]
            item = offsets[f] + codes[row, f]
            if item != offsets[g] + codes[before, g]:
                break
            found += weights[item]
        hits += _counted(found, static, block, minimum)
    return hits


@allocating
def _unbounded(
    codes: NDArray[np.int32],
    offsets: NDArray[np.int64],
    weights: NDArray[np.float64],
    rows: NDArray[np.int64],
    permutations: NDArray[np.int16],
    permutation_of: NDArray[np.int32],
    static: float,
    block: int,
    minimum: int,
) -> float:
    """Level by level, so that one table of N nodes is held and not N · M."""
    num_rows, num_fields = len(rows), permutations.shape[1]
    node_of = np.zeros(num_rows, np.int32)
    found = np.zeros(num_rows)
    follows = np.ones(num_rows, np.bool_)  # all of the prefix so far was found
    keys = np.empty(num_slots(num_rows), np.int64)
    nodes = np.empty(len(keys), np.int32)
    for p in range(num_fields):
        keys[:] = -1
        fresh = 0
        for i in range(num_rows):
            f = permutations[permutation_of[i], p]
            item = offsets[f] + codes[rows[i], f]
            node = child(keys, nodes, node_of[i] * np.int64(len(weights)) + item, fresh)
            follows[i] = follows[i] and node != fresh
            if follows[i]:
                found[i] += weights[item]
            fresh += node == fresh
            node_of[i] = node
    hits = 0.0
    for i in range(num_rows):
        hits += _counted(found[i], static, block, minimum)
    return hits


@allocating
def _least_recently_used(
    codes: NDArray[np.int32],
    offsets: NDArray[np.int64],
    weights: NDArray[np.float64],
    rows: NDArray[np.int64],
    permutations: NDArray[np.int16],
    permutation_of: NDArray[np.int32],
    static: float,
    block: int,
    minimum: int,
    capacity: float,
) -> float:
    """A tree of cells whose leaves leave first; what is too much leaves when the row has been sent."""
    num_rows, num_fields = len(rows), permutations.shape[1]
    keys = np.full(num_slots(num_rows * num_fields), -1, np.int64)
    nodes = np.empty(len(keys), np.int32)
    size = np.zeros(num_rows * num_fields + 1)  # of a node's cell
    older = np.zeros(len(size), np.int32)  # a ring through node 0, which is the static prompt
    newer = np.zeros(len(size), np.int32)
    resident = np.zeros(len(size), np.bool_)
    path = np.zeros(num_fields, np.int32)
    used, fresh, hits = 0.0, 1, 0.0
    for i in range(num_rows):
        node, found, follows = 0, 0.0, True
        for p in range(num_fields):
            f = permutations[permutation_of[i], p]
            item = offsets[f] + codes[rows[i], f]
            node = child(keys, nodes, node * np.int64(len(weights)) + item, fresh)
            fresh += node == fresh
            size[node] = weights[item]
            follows = follows and resident[node]
            if follows:
                found += weights[item]
            path[p] = node
        hits += _counted(found, static, block, minimum)
        for p in range(num_fields - 1, -1, -1):  # the leaf is touched first, so it leaves before its parents
            node = path[p]
            if resident[node]:
                older[newer[node]], newer[older[node]] = older[node], newer[node]
            else:
                resident[node] = True
                used += size[node]
            newest = older[0]
            newer[newest], older[node], newer[node], older[0] = node, newest, 0, node
        while used > capacity and newer[0] != 0:
            oldest = newer[0]
            newer[0], older[newer[oldest]] = newer[oldest], 0
            resident[oldest] = False
            used -= size[oldest]
    return hits

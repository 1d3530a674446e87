"""Single rows moved to the path of the tree that suits them best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paceline.sql.order.flat import Flat
from paceline.sql.order.kernels import child, compiled, find, inner, num_slots
from paceline.sql.order.tree import Draft, gather, unique_orders

MAX_FIELDS = 63  # a row's taken fields are the bits of one number
_MAX_VISITED = 128  # nodes looked at for one row
_MAX_PASSES = 3


def reinsert(flat: Flat, draft: Draft) -> Draft:
    """Takes each row out of the tree and puts it back where it saves most, while that is better; never worse."""
    items, weights = gather(flat, draft.rows, range(flat.num_fields))
    fields = draft.permutations[draft.permutation_of].astype(np.int32)
    items = np.take_along_axis(items, fields.astype(np.int64), axis=1)
    paths = np.zeros(items.shape, np.int32)
    max_nodes = 2 * items.size + flat.num_fields + 1  # a moved row leaves its old nodes behind
    keys = np.full(num_slots(max_nodes), -1, np.int64)
    tree = (keys, np.empty(len(keys), np.int32), np.zeros(max_nodes, np.int32))
    seen = np.zeros((_MAX_VISITED, 4), np.int64)
    gained = _move_rows(items, fields, paths, weights, *tree, seen, np.zeros(_MAX_VISITED), 1, _MAX_PASSES)
    order = np.lexsort(paths.T[::-1])
    permutations, permutation_of = unique_orders(fields[order])
    return Draft(draft.rows[order], permutations, permutation_of, draft.saved + gained)


@compiled
def _move_rows(
    items: NDArray[np.int32],  # [N, F], in the order of each row; reordered
    fields: NDArray[np.int32],  # [N, F], likewise
    paths: NDArray[np.int32],  # [N, F], out: the nodes of each row, numbered as they first appear
    weights: NDArray[np.float64],
    keys: NDArray[np.int64],
    nodes: NDArray[np.int32],
    count: NDArray[np.int32],  # [nodes], rows on each
    seen: NDArray[np.int64],  # [visited, 4]: node, position of its item in the row, entry of its parent, taken fields
    value: NDArray[np.float64],
    fresh: int,  # the next free number of a node; 0 is the root
    max_passes: int,
) -> float:
    num_rows, num_fields = items.shape
    for r in range(num_rows):
        fresh = _enter(items, paths, weights, keys, nodes, count, r, fresh)
    gained = 0.0
    for _ in range(max_passes):
        gained_before = gained
        for r in range(num_rows):
            present = 0.0
            for p in range(num_fields):
                count[paths[r, p]] -= 1
                present += weights[items[r, p]] if count[paths[r, p]] > 0 else 0.0
            best = _best_path(items, weights, keys, nodes, count, r, seen, value)
            if value[best] > present + 1e-9 and fresh + num_fields < len(count):
                gained += value[best] - present
                _reorder(items, fields, seen, r, best)
                fresh = _enter(items, paths, weights, keys, nodes, count, r, fresh)
            else:
                for p in range(num_fields):
                    count[paths[r, p]] += 1
        if gained == gained_before:
            break
    return gained


@inner
def _enter(
    items: NDArray[np.int32],
    paths: NDArray[np.int32],
    weights: NDArray[np.float64],
    keys: NDArray[np.int64],
    nodes: NDArray[np.int32],
    count: NDArray[np.int32],
    r: int,
    fresh: int,
) -> int:
    """Counts a row in along its path; the next free number of a node."""
    node = 0
    for p in range(items.shape[1]):
        node = child(keys, nodes, node * np.int64(len(weights)) + items[r, p], fresh)
        fresh += node == fresh
        count[node] += 1
        paths[r, p] = node
    return fresh


@inner
def _best_path(
    items: NDArray[np.int32],
    weights: NDArray[np.float64],
    keys: NDArray[np.int64],
    nodes: NDArray[np.int32],
    count: NDArray[np.int32],
    r: int,
    seen: NDArray[np.int64],
    value: NDArray[np.float64],
) -> int:
    """The entry of ``seen`` with the most valuable path of other rows that row ``r`` can follow, breadth first."""
    seen[0, 0], seen[0, 3], value[0] = 0, 0, 0.0
    best, num_seen, i = 0, 1, 0
    while i < num_seen:
        for p in range(items.shape[1]):
            if num_seen == len(seen):
                break
            if seen[i, 3] >> p & 1 == 0:
                node = find(keys, nodes, seen[i, 0] * np.int64(len(weights)) + items[r, p])
                if node >= 0 and count[node] > 0:
                    seen[num_seen, 0], seen[num_seen, 1], seen[num_seen, 2] = node, p, i
                    seen[num_seen, 3] = seen[i, 3] | np.int64(1) << p
                    value[num_seen] = value[i] + weights[items[r, p]]
                    best = num_seen if value[num_seen] > value[best] else best
                    num_seen += 1
        i += 1
    return best


@inner
def _reorder(items: NDArray[np.int32], fields: NDArray[np.int32], seen: NDArray[np.int64], r: int, entry: int) -> None:
    """Puts the fields of the path that ends in ``entry`` first, the others behind as they stand."""
    i = entry
    while i > 0:  # the last comes first to the front, and gives way to the one before it
        place, j = seen[i, 1], entry
        while j != i:
            place += seen[j, 1] > seen[i, 1]
            j = seen[j, 2]
        item, field = items[r, place], fields[r, place]
        for p in range(place, 0, -1):
            items[r, p], fields[r, p] = items[r, p - 1], fields[r, p - 1]
        items[r, 0], fields[r, 0] = item, field
        i = seen[i, 2]

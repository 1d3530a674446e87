"""Single rows moved to the path of the tree that suits them best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paceline.sql.order.flat import Flat
from paceline.sql.order.kernels import child, compiled, find, num_slots
from paceline.sql.order.tree import Draft, Piece, plant, unique_orders

MAX_FIELDS = 63  # a row's taken fields are the bits of one number
_MAX_VISITED = 128  # nodes looked at for one row
_MAX_PASSES = 3


def reinsert(flat: Flat, draft: Draft) -> Draft:
    """Takes each row out of the tree and puts it back where it saves most, while that is better; never worse."""
    forest = plant(flat, (), Piece(draft.rows, (), [len(draft.rows)]))
    fields = draft.permutations[draft.permutation_of]
    items = np.take_along_axis(forest.items, fields.astype(np.int64), axis=1)
    paths = np.zeros(items.shape, np.int32)
    gained = _move_rows(items, fields, paths, forest.weights, _MAX_PASSES)
    order = np.lexsort(paths.T[::-1])
    permutations, permutation_of = unique_orders(fields[order])
    return Draft(draft.rows[order], permutations, permutation_of, draft.saved + gained)


@compiled
def _move_rows(
    items: NDArray[np.int32],  # [N, F], in the order of each row; reordered
    fields: NDArray[np.int16],  # [N, F], likewise
    paths: NDArray[np.int32],  # [N, F], out: the nodes of each row, numbered as they first appear
    weights: NDArray[np.float64],
    max_passes: int,
) -> float:
    num_rows, num_fields = items.shape
    max_nodes = 2 * num_rows * num_fields + num_fields + 1  # a moved row leaves its old nodes behind
    keys = np.full(num_slots(max_nodes), -1, np.int64)
    nodes = np.empty(len(keys), np.int32)
    count = np.zeros(max_nodes, np.int32)
    fresh = 1  # 0 is the root
    for r in range(num_rows):
        fresh = _enter(items, paths, weights, keys, nodes, count, r, fresh)
    seen = np.zeros((_MAX_VISITED, 3), np.int64)  # node, position of its item in the row, entry of its parent
    used = np.zeros(_MAX_VISITED, np.int64)
    value = np.zeros(_MAX_VISITED)
    gained = 0.0
    for _ in range(max_passes):
        gained_before = gained
        for r in range(num_rows):
            present = 0.0
            for p in range(num_fields):
                count[paths[r, p]] -= 1
                present += weights[items[r, p]] if count[paths[r, p]] > 0 else 0.0
            best = _best_path(items, weights, keys, nodes, count, r, seen, used, value)
            if value[best] > present + 1e-9 and fresh + num_fields < max_nodes:
                gained += value[best] - present
                _reorder(items, fields, seen, r, best)
                fresh = _enter(items, paths, weights, keys, nodes, count, r, fresh)
            else:
                for p in range(num_fields):
                    count[paths[r, p]] += 1
        if gained == gained_before:
            break
    return gained


@compiled
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


@compiled
def _best_path(
    items: NDArray[np.int32],
    weights: NDArray[np.float64],
    keys: NDArray[np.int64],
    nodes: NDArray[np.int32],
    count: NDArray[np.int32],
    r: int,
    seen: NDArray[np.int64],
    used: NDArray[np.int64],
    value: NDArray[np.float64],
) -> int:
    """The entry of ``seen`` with the most valuable path of other rows that row ``r`` can follow, breadth first."""
    seen[0], used[0], value[0] = 0, 0, 0.0
    best, num_seen, i = 0, 1, 0
    while i < num_seen:
        for p in range(items.shape[1]):
            if num_seen == len(seen):
                break
            if used[i] >> p & 1 == 0:
                node = find(keys, nodes, seen[i, 0] * np.int64(len(weights)) + items[r, p])
                if node >= 0 and count[node] > 0:
                    seen[num_seen, 0], seen[num_seen, 1], seen[num_seen, 2] = node, p, i
                    used[num_seen] = used[i] | np.int64(1) << p
                    value[num_seen] = value[i] + weights[items[r, p]]
                    best = num_seen if value[num_seen] > value[best] else best
                    num_seen += 1
        i += 1
    return best


@compiled
def _reorder(items: NDArray[np.int32], fields: NDArray[np.int16], seen: NDArray[np.int64], r: int, entry: int) -> None:
    """Puts the fields of the path that ends in ``entry`` first, the others behind as they stand."""
    num_fields = items.shape[1]
    place = np.full(num_fields, num_fields, np.int64)
    depth, i = 0, entry
    while i > 0:
        depth += 1
        i = seen[i, 2]
    i = entry
    while i > 0:
        depth -= 1
        place[seen[i, 1]] = depth
        i = seen[i, 2]
    order = np.argsort(place, kind="mergesort")
    items[r], fields[r] = items[r][order], fields[r][order]

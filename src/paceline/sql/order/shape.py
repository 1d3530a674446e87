"""The compiled loops that shape a prefix tree: a node's rows are split into groups that share an item, again and again.

An item that heads a group of ``g`` rows is sent once instead of ``g`` times: it saves its weight ``g - 1`` times.
Row ``r`` keeps its items in ``items[r]`` and their fields in ``fields[r]``: first those on its path, then, up to
``live[r]``, those that another row of its node has too, then the rest. What is unique in a node is unique below it,
so rows run out of live items early and the work shrinks from level to level.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paceline.sql.order.choose import arrange, choose
from paceline.sql.order.forest import Forest, Node, Policy, Scratch, count_items, lift, new_scratch, swap
from paceline.sql.order.kernels import compiled


@compiled
def shape(forest: Forest, starts: NDArray[np.int64], ends: NDArray[np.int64], depth: int, policy: Policy) -> float:
    """Puts the rows of each root's stretch in order and returns what the trees save."""
    num_rows, num_fields = forest.items.shape
    scratch = new_scratch(num_rows, num_fields, len(forest.weights))
    stack = np.empty((num_rows // 2 + len(starts) + 2, 3), np.int64)
    top = len(starts)
    for i in range(top):
        stack[i, 0], stack[i, 1], stack[i, 2] = starts[i], ends[i], depth
    saved = 0.0
    while top > 0:
        top -= 1
        node = Node(stack[top, 0], stack[top, 1], stack[top, 2])
        if node.hi - node.lo == 2:  # by far the most frequent node, and simple
            saved += _pair(forest, node)
            continue
        count_items(forest, scratch.held, node)
        _drop_unique(forest, scratch.held, node)
        num_common, gain = _lift_common(forest, scratch.held, node)
        saved += gain
        node = Node(node.lo, node.hi, node.depth + num_common)
        for i in range(node.lo, node.hi):
            forest.settled[forest.rows[i]] = node.depth
        if choose(forest, scratch, node, policy):
            num_groups = arrange(forest, scratch, node, scratch.best_pick)
            saved += _commit(forest, scratch, node, num_groups)
            for g in range(num_groups):
                stack[top, 0], stack[top, 1] = node.lo + scratch.cuts[g], node.lo + scratch.cuts[g + 1]
                stack[top, 2] = node.depth + 1
                top += 1
            if node.lo + scratch.cuts[num_groups] + 1 < node.hi:
                stack[top, 0], stack[top, 1], stack[top, 2] = node.lo + scratch.cuts[num_groups], node.hi, node.depth
                top += 1
    return saved


@compiled
def _pair(forest: Forest, node: Node) -> float:
    """Two rows: what they share comes first."""
    first, second = forest.rows[node.lo], forest.rows[node.lo + 1]
    depth, saved = node.depth, 0.0
    for p in range(node.depth, forest.live[first]):
        item = forest.items[first, p]
        for q in range(depth, forest.live[second]):
            if forest.items[second, q] == item:
                swap(forest, first, depth, p)
                swap(forest, second, depth, q)
                saved += forest.weights[item]
                depth += 1
                break
    forest.settled[first] = forest.settled[second] = depth
    return saved


@compiled
def _drop_unique(forest: Forest, held: NDArray[np.int32], node: Node) -> None:
    for i in range(node.lo, node.hi):
        r = forest.rows[i]
        p = node.depth
        while p < forest.live[r]:
            item = forest.items[r, p]
            if held[item] == 1:
                held[item] = 0
                forest.live[r] -= 1
                swap(forest, r, p, forest.live[r])
            else:
                p += 1


@compiled
def _lift_common(forest: Forest, held: NDArray[np.int32], node: Node) -> tuple[int, float]:
    """Puts the items that all rows of the node share on the path: sooner or later is the same, sooner is simpler."""
    first, num_rows = forest.rows[node.lo], node.hi - node.lo
    depth, gain = node.depth, 0.0
    for p in range(node.depth, forest.live[first]):
        item = forest.items[first, p]
        if held[item] == num_rows:
            held[item] = 0
            gain += forest.weights[item] * (num_rows - 1)
            swap(forest, first, depth, p)
            for i in range(node.lo + 1, node.hi):
                lift(forest, forest.rows[i], depth, item)
            depth += 1
    return depth - node.depth, gain


@compiled
def _commit(forest: Forest, scratch: Scratch, node: Node, num_groups: int) -> float:
    saved = 0.0
    for i in range(node.hi - node.lo):
        forest.rows[node.lo + i] = scratch.order[i]
    for g in range(num_groups):
        head = scratch.heads[g]
        saved += forest.weights[head] * (scratch.cuts[g + 1] - scratch.cuts[g] - 1)
        for i in range(scratch.cuts[g], scratch.cuts[g + 1]):
            lift(forest, scratch.order[i], node.depth, head)
    return saved

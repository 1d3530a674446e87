"""The compiled loops that shape a prefix tree: a node's rows are split into groups that share an item, again and again.

An item that heads a group of ``g`` rows is sent once instead of ``g`` times: it saves its weight ``g - 1`` times.
Row ``r`` keeps its cells in ``cells[r]``: first those on its path, then, up to ``live[r]``, those whose item another
row of its node has too, then the rest. What is unique in a node is unique below it, so rows run out of live cells early
and the work shrinks from level to level.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paceline.sql.order.choose import choose
from paceline.sql.order.forest import (
    CUTS,
    FIELD,
    FIELD_BITS,
    HEADS,
    HELD,
    ORDER,
    Forest,
    Node,
    Policy,
    Scratch,
    begin,
    lift,
)
from paceline.sql.order.kernels import compiled, inner

_LATE = 1 << 30  # half of what a counter holds


def shape(forest: Forest, ends: NDArray[np.int64], depth: int, policy: Policy) -> float:
    """Puts the rows of each root's stretch in order and returns what the trees save."""
    num_rows, num_fields = forest.cells.shape
    scratch = Scratch(  # allocated here, for the compiler takes longer over an array that it must make
        np.zeros((len(forest.weights), 4), np.int32),
        np.empty((2, 3, num_rows + 2), np.int32),
        np.empty(num_rows, np.int32),
        np.empty((2, num_fields)),
        np.ones(1, np.int32),
    )
    stack = np.empty((num_rows // 2 + len(ends) + 2, 3), np.int64)
    stack[: len(ends), 0] = [0, *ends[:-1]]
    stack[: len(ends), 1] = ends
    stack[: len(ends), 2] = depth
    return _split_all(forest, scratch, stack, len(ends), policy)


@compiled
def _split_all(forest: Forest, scratch: Scratch, stack: NDArray[np.int64], top: int, policy: Policy) -> float:
    saved = 0.0
    while top > 0:
        top -= 1
        node = Node(stack[top, 0], stack[top, 1], stack[top, 2])
        if node.hi - node.lo == 2:  # by far the most frequent node, and simple
            saved += _pair(forest, node)
            continue
        held_since = _count_items(forest, scratch, node)
        gain, num_common = _sort_out(forest, scratch, node, held_since)
        node = Node(node.lo, node.hi, node.depth + num_common)
        split, num_groups = choose(forest, scratch, node, policy, held_since)
        saved += gain + _commit(forest, scratch, node, split, num_groups)
        cuts = scratch.splits[split, CUTS]
        for g in range(num_groups):
            stack[top, 0], stack[top, 1], stack[top, 2] = node.lo + cuts[g], node.lo + cuts[g + 1], node.depth + 1
            top += 1
        if num_groups > 0 and node.lo + cuts[num_groups] + 1 < node.hi:
            stack[top, 0], stack[top, 1], stack[top, 2] = node.lo + cuts[num_groups], node.hi, node.depth
            top += 1
    return saved


@inner
def _pair(forest: Forest, node: Node) -> float:
    """Two rows: what they share comes first."""
    first, second = forest.rows[node.lo], forest.rows[node.lo + 1]
    depth, saved = node.depth, 0.0
    for p in range(node.depth, forest.live[first]):
        cell = forest.cells[first, p]
        for q in range(depth, forest.live[second]):
            other = forest.cells[second, q]
            if other >> FIELD_BITS == cell >> FIELD_BITS:
                forest.cells[first, p], forest.cells[first, depth] = forest.cells[first, depth], cell
                forest.cells[second, q], forest.cells[second, depth] = forest.cells[second, depth], other
                saved += forest.weights[cell >> FIELD_BITS]
                depth += 1
                break
    forest.settled[first] = forest.settled[second] = depth
    return saved


@inner
def _count_items(forest: Forest, scratch: Scratch, node: Node) -> int:
    """Counts the rows that hold each item, and what a split by each field saves; since when is counted."""
    tally, gains = scratch.tally, scratch.gains
    if scratch.time[0] > _LATE:
        for item in range(len(tally)):
            for column in range(4):
                tally[item, column] = 0
        scratch.time[0] = 1
    for f in range(gains.shape[1]):
        gains[0, f] = 0.0
    since = begin(scratch, node.hi - node.lo)
    for i in range(node.lo, node.hi):
        r = forest.rows[i]
        for p in range(node.depth, forest.live[r]):
            cell = forest.cells[r, p]
            item = cell >> FIELD_BITS
            if tally[item, HELD] > since:
                gains[0, cell & FIELD] += forest.weights[item]
                tally[item, HELD] += 1
            else:
                tally[item, HELD] = since + 1
    return since


@inner
def _sort_out(forest: Forest, scratch: Scratch, node: Node, since: int) -> tuple[float, int]:
    """Drops unique items, and puts those that all rows share on the path: sooner or later is the same, sooner is simpler."""
    tally, cells, num_rows, depth, gain = scratch.tally, forest.cells, node.hi - node.lo, node.depth, 0.0
    first = forest.rows[node.lo]
    for p in range(node.depth, forest.live[first]):
        cell = cells[first, p]
        item = cell >> FIELD_BITS
        if tally[item, HELD] - since == num_rows:
            saved = forest.weights[item] * (num_rows - 1)
            gain += saved
            f = cell & FIELD
            scratch.gains[0, f] = scratch.gains[0, f] - saved if forest.loose[f] else 0.0
            cells[first, p], cells[first, depth] = cells[first, depth], cell
            for i in range(node.lo + 1, node.hi):
                lift(forest, forest.rows[i], depth, item)
            depth += 1
    for i in range(node.lo, node.hi):
        r = forest.rows[i]
        p, live = depth, forest.live[r]
        while p < live:
            cell = cells[r, p]
            if tally[cell >> FIELD_BITS, HELD] - since == 1:
                live -= 1
                cells[r, p], cells[r, live] = cells[r, live], cell
            else:
                p += 1
        forest.live[r], forest.settled[r] = live, depth
    return gain, depth - node.depth


@inner
def _commit(forest: Forest, scratch: Scratch, node: Node, split: int, num_groups: int) -> float:
    """Rows in the order of the split, the item of each group at the node's depth; what that saves."""
    saved = 0.0
    if num_groups == 0:
        return saved
    order, cuts, heads = scratch.splits[split, ORDER], scratch.splits[split, CUTS], scratch.splits[split, HEADS]
    for i in range(node.hi - node.lo):
        forest.rows[node.lo + i] = order[i]
    for g in range(num_groups):
        saved += forest.weights[heads[g]] * (cuts[g + 1] - cuts[g] - 1)
        for i in range(cuts[g], cuts[g + 1]):
            lift(forest, order[i], node.depth, heads[g])
    return saved

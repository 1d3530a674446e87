"""What is known while a prefix tree is shaped: rows, their items, and how a node chooses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from paceline.sql.order.kernels import compiled


class Forest(NamedTuple):
    """Rows to be put in order, and what is known of their items."""

    items: NDArray[np.int32]  # [N, F], reordered within each row
    fields: NDArray[np.int16]  # [N, F], likewise
    live: NDArray[np.int16]  # [N]
    settled: NDArray[np.int16]  # [N], out: leading items that are on the row's path
    rows: NDArray[np.int32]  # [N], reordered: depth first
    weights: NDArray[np.float64]  # [items]
    loose: NDArray[np.bool_]  # [F], interchangeable fields: no split by one of them
    rank: NDArray[np.int16]  # [F], 0 for the field to try first


class Policy(NamedTuple):
    """How a node chooses its split.

    Fields of rank below ``num_led`` come first, in their order, without a trial. Then the ``num_columns`` splits by a
    field that save most, and with ``use_groups`` the split by each row's own best item, are tried two steps deep, on
    evenly spread groups of about ``reach`` rows; ``optimism`` is the share believed of what the second step leaves open.
    """

    num_led: int
    num_columns: int
    use_groups: bool
    optimism: float
    reach: int


class Scratch(NamedTuple):
    """Counters by item, all zero between uses, and room for one split of a node."""

    held: NDArray[np.int32]  # rows of the node with the item
    chosen: NDArray[np.int32]  # rows that choose it
    below: NDArray[np.int32]  # rows of a group of the node with it
    pick: NDArray[np.int32]  # [N], the item a row chooses, or -1
    best_pick: NDArray[np.int32]  # [N]
    order: NDArray[np.int32]  # [N], the node's rows, group by group, those of no group last
    cuts: NDArray[np.int32]  # [N + 1], where groups start
    heads: NDArray[np.int32]  # [N], the item of each group
    scores: NDArray[np.float64]  # [F]
    second: NDArray[np.float64]  # [F]


class Node(NamedTuple):
    lo: int
    hi: int
    depth: int


@compiled
def new_scratch(num_rows: int, num_fields: int, num_items: int) -> Scratch:
    return Scratch(
        np.zeros(num_items, np.int32),
        np.zeros(num_items, np.int32),
        np.zeros(num_items, np.int32),
        np.empty(num_rows, np.int32),
        np.empty(num_rows, np.int32),
        np.empty(num_rows, np.int32),
        np.empty(num_rows + 1, np.int32),
        np.empty(num_rows, np.int32),
        np.empty(num_fields),
        np.empty(num_fields),
    )


@compiled
def count_items(forest: Forest, counter: NDArray[np.int32], node: Node) -> None:
    for i in range(node.lo, node.hi):
        r = forest.rows[i]
        for p in range(node.depth, forest.live[r]):
            counter[forest.items[r, p]] += 1


@compiled
def clear(forest: Forest, counter: NDArray[np.int32], node: Node) -> None:
    for i in range(node.lo, node.hi):
        r = forest.rows[i]
        for p in range(node.depth, forest.live[r]):
            counter[forest.items[r, p]] = 0


@compiled
def swap(forest: Forest, r: int, p: int, q: int) -> None:
    items, fields = forest.items, forest.fields
    items[r, p], items[r, q] = items[r, q], items[r, p]
    fields[r, p], fields[r, q] = fields[r, q], fields[r, p]


@compiled
def lift(forest: Forest, r: int, depth: int, item: int) -> None:
    for p in range(depth, forest.live[r]):
        if forest.items[r, p] == item:
            swap(forest, r, depth, p)
            return

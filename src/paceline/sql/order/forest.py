"""What is known while a prefix tree is shaped: rows, their items, and how a node chooses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from paceline.sql.order.kernels import inner

FIELD_BITS = 16  # a cell is an item, shifted, and its field
FIELD = (1 << FIELD_BITS) - 1
HELD, SEEN, CHOSEN, PLACE = 0, 1, 2, 3  # columns of ``tally``
ORDER, CUTS, HEADS = 0, 1, 2  # rows of a split


class Forest(NamedTuple):
    """Rows to be put in order, and what is known of their items."""

    cells: NDArray[np.int64]  # [N, F], reordered within each row
    live: NDArray[np.int32]  # [N]
    settled: NDArray[np.int32]  # [N], out: leading cells that are on the row's path
    rows: NDArray[np.int32]  # [N], reordered: depth first
    weights: NDArray[np.float64]  # [items]
    loose: NDArray[np.bool_]  # [F], interchangeable fields: no split by one of them
    above: NDArray[np.int32]  # [F, F], 0, or the more the fewer values the second has, if the first determines it


class Policy(NamedTuple):
    """How a node chooses its split.

    By field ``led`` (-1: none) while rows share it. Else the ``num_columns`` splits by a field that save most, and with ``use_groups`` the split by each row's own best item,
    are tried two steps deep, on evenly spread groups of about ``reach`` rows; ``optimism`` is the share believed of what
    the second step leaves open.
    """

    led: int
    num_columns: int
    use_groups: bool
    optimism: float
    reach: int


class Scratch(NamedTuple):
    """Counters by item, and room for two splits of a node: the best so far, and the one that is tried.

    A counter starts from the ``time`` at which its use begins: what is below is from before, so nothing is cleared.
    """

    tally: NDArray[np.int32]  # [items, 4]: rows of the node with it, group that has it, rows that choose it, next place
    splits: NDArray[np.int32]  # [2, 3, N + 2]: rows by group, those of none last; where groups start; their items
    pick: NDArray[np.int32]  # [N], the item a row chooses, or -1
    gains: NDArray[np.float64]  # [2, F]: what a split by the field saves in the node, and in one of its groups
    time: NDArray[np.int32]  # [1]


class Node(NamedTuple):
    lo: int
    hi: int
    depth: int


@inner
def begin(scratch: Scratch, most: int) -> int:
    """When counters that count to ``most`` start."""
    began = scratch.time[0]
    scratch.time[0] += most + 1
    return began  # type: ignore[no-any-return]


@inner
def lift(forest: Forest, r: int, depth: int, item: int) -> None:
    """Swaps an item of a row to ``depth``."""
    for p in range(depth, forest.live[r]):
        cell = forest.cells[r, p]
        if cell >> FIELD_BITS == item:
            forest.cells[r, p], forest.cells[r, depth] = forest.cells[r, depth], cell
            return

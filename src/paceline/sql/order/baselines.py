"""Orders to compare with: as written, sorted, the v1 rule, and greedy group recursion (GGR), all as published.

Liu et al., Optimizing LLM Queries in Relational Data Analytics Workloads, MLSys 2025 (arXiv 2403.05821; v1 of March
2024 for the rule), with what their published code adds to the paper.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from paceline.sql.items import Items
from paceline.sql.order.hits import numbered

CHARS_PER_TOKEN = 4.0  # GGR counts characters
MAX_DISTINCT_SHARE = 0.7  # columns above it take no part in the recursion
MAX_PIECE = 2000  # rows that are planned together
MAX_ROW_DEPTH, MAX_COLUMN_DEPTH = 4, 2
MIN_SCORE = 0.1e6

Plan = tuple[list[int], list[tuple[int, ...]]]  # rows in order, and the fields of each


def as_is(items: Items) -> Plan:
    """Rows as they come, fields as they are written."""
    fields = tuple(range(items.num_fields))
    return list(range(items.num_rows)), [fields] * items.num_rows


def sorted_rows(items: Items) -> Plan:
    """Fields as they are written, rows in lexicographic order."""
    rows = np.lexsort(items.codes.T[::-1]).tolist()
    return rows, [tuple(range(items.num_fields))] * items.num_rows


def v1_rule(items: Items) -> Plan:
    """One order for all rows, fields by mean length over number of values, the greatest first; then sorted."""
    score = [
        lengths.mean() / num_distinct for lengths, num_distinct in map(_statistics(items), range(items.num_fields))
    ]
    fields = tuple(sorted(range(items.num_fields), key=lambda f: -score[f]))
    rows = np.lexsort(items.codes[:, fields[::-1]].T).tolist()
    return rows, [fields] * items.num_rows


def _statistics(items: Items) -> Callable[[int], tuple[NDArray[np.float64], int]]:
    return lambda f: (CHARS_PER_TOKEN * items.weights[f][items.codes[:, f]], len(np.unique(items.codes[:, f])))


class _Recursion:
    """Greedy group recursion over columns, each a group of fields that move together."""

    def __init__(self, items: Items, columns: Sequence[tuple[int, ...]]) -> None:
        offsets, _ = numbered(items)
        numbers = [(offsets[c[0]] + items.codes[:, c[0]]) for c in columns]
        lengths = [np.sum([CHARS_PER_TOKEN * items.weights[f][items.codes[:, f]] for f in c], axis=0) for c in columns]
        self.cells = np.stack(numbers, axis=1).tolist()
        self.length: dict[int, float] = dict(zip(np.ravel(numbers).tolist(), np.ravel(lengths).tolist(), strict=True))

    def split(self, rows: list[int], columns: list[int]) -> Plan:
        """Halves until a piece is small, then each piece by itself."""
        if len(rows) <= MAX_PIECE:
            return self.recurse(rows, columns, 0, 0)
        middle = len(rows) // 2
        return _joined(self.split(rows[:middle], columns), self.split(rows[middle:], columns))

    def recurse(self, rows: list[int], columns: list[int], row_depth: int, column_depth: int) -> Plan:
        if not rows or not columns:
            return rows, [()] * len(rows)
        if row_depth >= MAX_ROW_DEPTH or column_depth >= MAX_COLUMN_DEPTH:
            return self.fixed(rows, columns)
        counts = Counter(self.cells[r][c] for r in rows for c in columns)
        value = max(counts, key=lambda item: self.length[item] ** 2 * (counts[item] - 1))
        if self.length[value] ** 2 * (counts[value] - 1) < MIN_SCORE:
            return self.fixed(rows, columns)
        column = next(c for c in columns if any(self.cells[r][c] == value for r in rows))
        group = [r for r in rows if self.cells[r][column] == value]
        rest = [r for r in rows if self.cells[r][column] != value]
        inner, orders = self.recurse(group, [c for c in columns if c != column], row_depth, column_depth + 1)
        outer = self.recurse(rest, columns, row_depth + 1, column_depth)
        return _joined((inner, [(column, *order) for order in orders]), outer)

    def fixed(self, rows: list[int], columns: list[int]) -> Plan:
        """One order by the statistics of these rows, then sorted."""
        order = tuple(sorted(columns, key=lambda c: -self.score(rows, c)))
        return sorted(rows, key=lambda r: [self.cells[r][c] for c in order]), [order] * len(rows)

    def score(self, rows: list[int], column: int) -> float:
        values = [self.cells[r][column] for r in rows]
        mean: float = sum(self.length[value] for value in values) / len(values)
        return mean**2 * (len(values) / len(set(values)) - 1.0)


def _joined(first: Plan, second: Plan) -> Plan:
    return first[0] + second[0], first[1] + second[1]


def ggr(items: Items, dependent: Sequence[Sequence[int]] = ()) -> Plan:
    """Greedy group recursion; ``dependent`` are groups of fields that determine each other."""
    in_group = {f for group in dependent for f in group}
    columns = [*map(tuple, dependent), *((f,) for f in range(items.num_fields) if f not in in_group)]
    recursion = _Recursion(items, columns)
    rows, everything = list(range(items.num_rows)), list(range(len(columns)))
    score = {c: recursion.score(rows, c) for c in everything}
    num_distinct = {c: len({cells[c] for cells in recursion.cells}) for c in everything}
    left_out = [c for c in everything if num_distinct[c] > MAX_DISTINCT_SHARE * len(rows)]
    left_out.sort(key=lambda c: -score[c])
    searched = [c for c in everything if c not in left_out]
    rows, _ = recursion.fixed(rows, searched)
    rows, orders = recursion.split(rows, searched)
    complete = [(*order, *left_out) for order in orders]
    paired = sorted(zip(rows, complete, strict=True), key=lambda pair: [recursion.cells[pair[0]][c] for c in pair[1]])
    return [row for row, _ in paired], [tuple(f for c in order for f in columns[c]) for _, order in paired]

"""Prefix trees over the rows of a table, by a policy; a large table is cut at its first levels and done in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from paceline.sql.order.flat import Flat
from paceline.sql.order.forest import FIELD, FIELD_BITS, Forest, Policy
from paceline.sql.order.kernels import compiled, number_rows
from paceline.sql.order.shape import shape

MAX_PIECE = 1 << 17  # rows; what is held per piece is some 200 bytes a row and 20 fields


class Draft(NamedTuple):
    """An order of the searched fields, and what its tree saves by plain weights."""

    rows: NDArray[np.int64]  # [N]
    permutations: NDArray[np.int16]  # [P, F]
    permutation_of: NDArray[np.int32]  # [N]
    saved: float


class Piece(NamedTuple):
    """Subtrees that lie side by side: rows whose first fields are ``lead``, equal within each stretch."""

    rows: NDArray[np.int64]
    lead: tuple[int, ...]
    ends: list[int]  # of the stretches


def grow(
    flat: Flat,
    policy: Policy,
    *,
    rows: NDArray[np.int64] | None = None,
    pool: ThreadPoolExecutor | None = None,
    max_piece: int = MAX_PIECE,
) -> Draft:
    """The tree of ``policy`` over the given rows of the table, or all."""
    rows = np.arange(flat.num_rows) if rows is None else rows
    if len(rows) <= max_piece:
        return _grow_piece(flat, policy, Piece(rows, (), [len(rows)]))
    cuts = _Cuts(flat, max_piece)
    run = pool.map if pool else map
    drafts = list(run(lambda piece: _grow_piece(flat, policy, piece), cuts.pieces(rows)))
    tables = np.concatenate([draft.permutations for draft in drafts]).astype(np.int32)
    permutations, number = unique_orders(tables)
    starts = np.cumsum([0, *(len(draft.permutations) for draft in drafts)])
    return Draft(
        np.concatenate([draft.rows for draft in drafts]),
        permutations,
        np.concatenate([number[start + draft.permutation_of] for start, draft in zip(starts, drafts, strict=False)]),
        cuts.saved + sum(draft.saved for draft in drafts),
    )


def gather(flat: Flat, rows: NDArray[np.int64], fields: Sequence[int]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Items of the rows in these fields, numbered as they appear, and their weights.  # [N, F], [items]"""
    chosen = np.array(fields, np.int64)
    items, number = np.empty((len(rows), len(chosen)), np.int32), np.full(len(flat.weights), -1, np.int32)
    known = np.empty(min(items.size, len(flat.weights) + len(rows) * int(flat.loose.sum())))
    table = (flat.codes, flat.columns[chosen], flat.offsets[chosen], flat.weights, flat.loose[chosen])
    return items, known[: _gather(*table, rows, number, items, known)].copy()


def _grow_piece(flat: Flat, policy: Policy, piece: Piece) -> Draft:
    fields = [*piece.lead, *(f for f in range(flat.num_fields) if f not in piece.lead)]
    items, weights = gather(flat, piece.rows, fields)
    num_rows = len(items)
    forest = Forest(
        cells=items.astype(np.int64) << FIELD_BITS | np.array(fields, np.int64),
        live=np.full(num_rows, flat.num_fields, np.int32),
        settled=np.zeros(num_rows, np.int32),
        rows=np.arange(num_rows, dtype=np.int32),
        weights=weights,
        loose=flat.loose,
        above=flat.above,
    )
    saved = shape(forest, np.array(piece.ends, np.int64), len(piece.lead), policy)
    fields_of = np.empty(items.shape, np.int32)
    _tidy(forest.cells, forest.settled, forest.rows, np.full(flat.num_fields, -1), fields_of)
    permutations, number = unique_orders(fields_of)
    return Draft(piece.rows[forest.rows], permutations, number, saved)


class _Cuts:
    """Cuts rows by one field after the other until the pieces are small; counts what its cuts save."""

    def __init__(self, flat: Flat, max_piece: int) -> None:
        self.saved = 0.0
        self._flat = flat
        self._order = list(
            dict.fromkeys(f for g in np.argsort(-flat.savings, kind="stable") for f in _down_to(flat, g))
        )
        self._max_piece = max_piece

    def pieces(self, rows: NDArray[np.int64], lead: tuple[int, ...] = (), level: int = 0) -> Iterator[Piece]:
        """The pieces depth first: neighbours in one piece share ``lead``."""
        if len(rows) <= self._max_piece or level == len(self._order):
            yield Piece(rows, lead, [len(rows)])
            return
        field = self._order[level]
        codes = self._flat.codes[rows, self._flat.columns[field]]
        sizes = np.bincount(codes)
        alone = sizes[codes] == 1
        weights = self._flat.weights[self._flat.offsets[field] :][: len(sizes)]
        self.saved += float((weights * np.maximum(sizes - 1, 0)).sum())
        rows_alone, rows, codes = rows[alone], rows[~alone], codes[~alone]
        rows = rows[np.argsort(codes, kind="stable")]
        yield from self._groups(rows, sizes[sizes > 1].tolist(), (*lead, field), level + 1)
        if len(rows_alone):
            yield from self.pieces(rows_alone, lead, level + 1)

    def _groups(self, rows: NDArray[np.int64], sizes: list[int], lead: tuple[int, ...], level: int) -> Iterator[Piece]:
        """Small groups are put together up to the size of a piece; a large one is cut again."""
        start, ends = 0, [0]
        for size in [*sizes, self._max_piece + 1]:
            if ends[-1] - start + size > self._max_piece and ends[-1] > start:
                yield Piece(rows[start : ends[-1]], lead, [end - start for end in ends if end > start])
                start, ends = ends[-1], [ends[-1]]
            if size <= self._max_piece:
                ends.append(ends[-1] + size)
            elif start < len(rows):
                yield from self.pieces(rows[start : start + size], lead, level)
                start, ends = start + size, [start + size]


def _down_to(flat: Flat, field: int) -> list[int]:
    """The fields that a field determines, those of fewest values first, and it; none if it is interchangeable."""
    above = flat.above[field]
    return [] if flat.loose[field] else [*sorted(np.flatnonzero(above).tolist(), key=lambda f: -above[f]), int(field)]


@compiled
def _gather(
    codes: NDArray[np.int32],
    columns: NDArray[np.int64],
    offsets: NDArray[np.int64],
    weights: NDArray[np.float64],
    loose: NDArray[np.bool_],
    rows: NDArray[np.int64],
    number: NDArray[np.int32],
    items: NDArray[np.int32],
    known: NDArray[np.float64],
) -> int:
    """Numbers items and keeps their weights; what a row holds twice is another item the second time. How many there are."""
    fresh = 0
    for i in range(len(rows)):
        for f in range(len(columns)):
            item = offsets[f] + codes[rows[i], columns[f]]
            if number[item] < 0:
                number[item] = fresh
                known[fresh] = weights[item]
                fresh += 1
            items[i, f] = number[item]
            for g in range(f if loose[f] else 0):
                if items[i, g] == items[i, f]:
                    items[i, f] = fresh
                    known[fresh] = 0.0
                    fresh += 1
    return fresh


def unique_orders(permutations: NDArray[np.int32]) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
    """Each order once, and which of them every row has.  # [N, F] -> [P, F], [N]"""
    number, first = number_rows(permutations)
    return permutations[first].astype(np.int16), number


@compiled
def _tidy(
    cells: NDArray[np.int64],
    settled: NDArray[np.int32],
    rows: NDArray[np.int32],
    last: NDArray[np.int64],  # [F], the last row on whose path a field was, or -1
    fields: NDArray[np.int32],
) -> None:
    """The fields of the rows as they stand, those behind a row's path as in the table."""
    for i in range(len(rows)):
        for p in range(settled[rows[i]]):
            fields[i, p] = cells[rows[i], p] & FIELD
            last[fields[i, p]] = i
        place = settled[rows[i]]
        for field in range(len(last)):
            if last[field] != i:
                fields[i, place] = field
                place += 1

"""Prefix trees over the rows of a table, by a policy; a large table is cut at its first levels and done in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from paceline.sql.order.flat import Flat
from paceline.sql.order.forest import Forest, Policy
from paceline.sql.order.kernels import compiled
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
    lead: Sequence[int],
    policy: Policy,
    *,
    rows: NDArray[np.int64] | None = None,
    pool: ThreadPoolExecutor | None = None,
    max_piece: int = MAX_PIECE,
) -> Draft:
    """The tree of ``policy`` over the given rows of the table, or all; fields of ``lead`` first, where rows share them."""
    rows = np.arange(flat.num_rows) if rows is None else rows
    policy = policy._replace(num_led=len(lead))
    if len(rows) <= max_piece:
        return _grow_piece(flat, lead, policy, Piece(rows, (), [len(rows)]))
    cuts = _Cuts(flat, [*lead, *(f for f in range(flat.num_fields) if f not in lead)], max_piece)
    run = pool.map if pool else map
    drafts = list(run(lambda piece: _grow_piece(flat, lead, policy, piece), cuts.pieces(rows)))
    tables = np.concatenate([draft.permutations for draft in drafts])
    permutations, number = unique_orders(tables)
    starts = np.cumsum([0, *(len(draft.permutations) for draft in drafts)])
    return Draft(
        np.concatenate([draft.rows for draft in drafts]),
        permutations,
        np.concatenate([number[start + draft.permutation_of] for start, draft in zip(starts, drafts, strict=False)]),
        cuts.saved + sum(draft.saved for draft in drafts),
    )


def plant(flat: Flat, lead: Sequence[int], piece: Piece) -> Forest:
    """The rows of a piece, the fields of its own lead first, with items numbered as they appear."""
    fields = np.array([*piece.lead, *(f for f in range(flat.num_fields) if f not in piece.lead)], np.int16)
    items, weights = _gather(
        flat.codes, flat.columns[fields], flat.offsets[fields], flat.weights, flat.loose[fields], piece.rows
    )
    rank = np.full(flat.num_fields, flat.num_fields, np.int16)
    rank[list(lead)] = np.arange(len(lead))
    return Forest(
        items=items,
        fields=np.tile(fields, (len(items), 1)),
        live=np.full(len(items), flat.num_fields, np.int16),
        settled=np.zeros(len(items), np.int16),
        rows=np.arange(len(items), dtype=np.int32),
        weights=weights,
        loose=flat.loose,
        rank=rank,
    )


def _grow_piece(flat: Flat, lead: Sequence[int], policy: Policy, piece: Piece) -> Draft:
    forest = plant(flat, lead, piece)
    ends = np.array(piece.ends, np.int64)
    saved = shape(forest, np.concatenate([[0], ends[:-1]]), ends, len(piece.lead), policy)
    _tidy(forest.fields, forest.settled)
    permutations, number = unique_orders(forest.fields[forest.rows])
    return Draft(piece.rows[forest.rows], permutations, number, saved)


class _Cuts:
    """Cuts rows by one field after the other until the pieces are small; counts what its cuts save."""

    def __init__(self, flat: Flat, order: Sequence[int], max_piece: int) -> None:
        self.saved = 0.0
        self._flat = flat
        self._order = [f for f in order if not flat.loose[f]]
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


@compiled
def _gather(
    codes: NDArray[np.int32],
    columns: NDArray[np.int64],
    offsets: NDArray[np.int64],
    weights: NDArray[np.float64],
    loose: NDArray[np.bool_],
    rows: NDArray[np.int64],
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Items of the rows, and their weights; what a row holds twice is another item the second time."""
    number = np.full(len(weights), -1, np.int32)
    items = np.empty((len(rows), len(columns)), np.int32)
    known = np.empty(items.size)
    fresh = 0
    for i in range(len(rows)):
        for f in range(len(columns)):
            item = offsets[f] + codes[rows[i], columns[f]]
            if number[item] < 0:
                number[item] = fresh
                known[fresh] = weights[item]
                fresh += 1
            items[i, f] = number[item]
            if loose[f] and (items[i, :f] == number[item]).any():
                items[i, f] = fresh
                known[fresh] = 0.0
                fresh += 1
    return items, known[:fresh].copy()


def unique_orders(permutations: NDArray[np.int16]) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
    """Each order once, and which of them every row has.  # [N, F] -> [P, F], [N]"""
    if permutations.shape[1] == 0:
        return permutations[:1], np.zeros(len(permutations), np.int32)
    table = np.ascontiguousarray(permutations)
    whole = table.view(np.dtype((np.void, table.strides[0]))).ravel()
    _, first, number = np.unique(whole, return_index=True, return_inverse=True)
    return permutations[first], number.astype(np.int32)


@compiled
def _tidy(fields: NDArray[np.int16], settled: NDArray[np.int16]) -> None:
    """Fields behind a row's path stand as in the table."""
    for r in range(len(fields)):
        fields[r, settled[r] :].sort()

"""The portfolio: several trees are grown, each order is measured exactly, and the best is kept."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paceline.sql.items import Items, Order
from paceline.sql.order.bound import neighbour_bound, simple_bound
from paceline.sql.order.fixed import preference, sort_rows
from paceline.sql.order.flat import Flat, flatten
from paceline.sql.order.forest import Policy
from paceline.sql.order.hits import evaluate, evaluate_depth_first, paths
from paceline.sql.order.options import OrderOptions
from paceline.sql.order.reinsert import MAX_FIELDS, reinsert
from paceline.sql.order.sample import cluster_sample
from paceline.sql.order.tree import MAX_PIECE, Draft, Piece, grow, plant

_REACH = 1 << 14  # rows of a node that its trials look at
_NEAREST = Policy(num_led=0, num_columns=1, use_groups=False, optimism=0.0, reach=_REACH)
_COLUMNS = Policy(num_led=0, num_columns=2, use_groups=False, optimism=0.0, reach=_REACH)
_GROUPS = Policy(num_led=0, num_columns=0, use_groups=True, optimism=0.0, reach=_REACH)
_MIXED = Policy(num_led=0, num_columns=2, use_groups=True, optimism=0.2, reach=_REACH)
_BOLD = Policy(num_led=0, num_columns=2, use_groups=True, optimism=0.75, reach=_REACH)
_VISITS = {_NEAREST: 1, _COLUMNS: 3, _GROUPS: 2, _MIXED: 4, _BOLD: 4}  # of a cell, about

_CLOSE = 0.01  # of the weight: a plan so near to the bound is not improved
_CELLS_PER_S = 10_000_000  # visited; what turns seconds of budget into a count
_SAMPLE_CELLS = 1 << 15  # on which trees are compared; of a large table, 16 times as many
_RUNNER_UP = 0.99  # of the best tree's savings on the sample: what else is worth growing
_MAX_LEAD = 3
_MAX_TRIED = 6  # fields tried for each place of the lead

Fields = tuple[int, ...]


class Trial(NamedTuple):
    """A tree to grow: ``lead`` are fields that come first wherever rows share them."""

    name: str
    lead: Fields
    policy: Policy


def plan(items: Items, options: OrderOptions | None = None) -> Order:
    """The best order found: no row is lost, and where rows agree in a prefix they stand side by side.

    Deterministic. ``Order.bound`` is the smaller of ``bounds``; ``Order.numbers`` names every candidate's hits and
    seconds. Tables beyond the size of a piece are cut at their first levels and planned in pieces on two threads.

    >>> codes = np.array([[0, 0], [1, 1], [0, 2], [1, 3]], np.int32)
    >>> order = plan(Items(codes, (np.array([5.0, 5.0]), np.ones(4))))
    >>> order.rows.tolist(), order.hits, order.bound
    ([0, 2, 1, 3], 10.0, 10.0)
    """
    options = options or OrderOptions()
    flat = flatten(items, options.weighting)
    with ThreadPoolExecutor(min(2, len(os.sched_getaffinity(0)))) as pool:
        portfolio = _Portfolio(items, flat, options, pool)
        if options.field_order == "as_written":
            portfolio.one_order("as_written", tuple(f for f in range(items.num_fields) if f not in items.pinned))
        elif options.field_order == "fixed" or flat.num_fields == 0 or items.num_rows < 2:
            portfolio.one_order("fixed", portfolio.fixed_order())
        else:
            portfolio.search()
        return portfolio.best()


class _Portfolio:
    """Candidates of one table, measured as they come."""

    def __init__(self, items: Items, flat: Flat, options: OrderOptions, pool: ThreadPoolExecutor) -> None:
        self._items = items
        self._flat = flat
        self._options = options
        self._pool = pool
        self._budget = options.budget_s * _CELLS_PER_S  # cells still to be visited
        cells = _SAMPLE_CELLS if flat.num_rows <= MAX_PIECE else 16 * _SAMPLE_CELLS
        self._sample = cluster_sample(flat, cells // max(1, flat.num_fields))
        self._simple, self._total = simple_bound(items, options)
        self._order: Order | None = None
        self._drafts: list[tuple[float, str, Draft]] = []
        self._numbers: dict[str, Any] = {}

    def one_order(self, name: str, fields: Fields) -> None:
        """The same fields for every row, rows sorted by them."""
        began = time.perf_counter()
        rows = sort_rows(self._items.codes, list(fields))
        permutations = np.array([[*fields, *self._items.pinned]], np.int16)
        self._measure(name, began, rows, permutations, np.zeros(len(rows), np.int32))

    def fixed_order(self) -> Fields:
        """Searched fields in the order that suits all rows; by bundle, so that dependent ones stay together."""
        flat = self._flat
        order = preference(plant(flat, (), Piece(self._sample, (), [len(self._sample)]))).tolist()
        unsearched_back = [f for f in flat.back if f not in self._items.pinned]
        return (*flat.front, *(f for bundle in order for f in flat.bundles[bundle]), *unsearched_back)

    def search(self) -> None:
        """The tree that does best on a sample, then others and single rows while the bound is far and budget is left."""
        ranked = [Trial("columns", (), _COLUMNS)] if self._easy() else self._ranked()
        self._grow(ranked[:1])
        if self._flat.num_rows > MAX_PIECE or self._close:
            return
        self._reinsert()
        self._grow(ranked[1:])
        self._reinsert()

    def _easy(self) -> bool:
        """Whether a simple tree comes near the bound on the sample."""
        saved = grow(self._flat, (), _COLUMNS, rows=self._sample).saved
        weight = self._total * len(self._sample) / self._flat.num_rows
        return saved >= sum(self._spared(self._sample).values()) - _CLOSE * weight and not self._flat.loose.any()

    def _ranked(self) -> list[Trial]:
        """Trees worth growing, the best on the sample first."""
        lead = self._find_lead()
        trials = [Trial("columns", lead, _COLUMNS), Trial("mixed", lead, _MIXED)]
        if self._flat.num_rows <= MAX_PIECE:
            trials += [Trial("bold", (), _BOLD), Trial("groups", (), _GROUPS)]
            trials += [Trial("unled", (), _MIXED)] if lead else []
        drafts = self._pool.map(lambda trial: grow(self._flat, trial.lead, trial.policy, rows=self._sample), trials)
        saved = {trial.name: draft.saved for trial, draft in zip(trials, drafts, strict=True)}
        least = _RUNNER_UP * max(saved.values()) if len(self._sample) < self._flat.num_rows else 0.0
        return sorted((t for t in trials if saved[t.name] >= least), key=lambda trial: -saved[trial.name])

    def _find_lead(self) -> Fields:
        """Leading fields that help the simplest policy on the sample, one after the other."""
        flat = self._flat
        spared = self._spared(slice(None))
        worthy = sorted(spared, key=lambda f: -spared[f])[:_MAX_TRIED]
        lead: Fields = ()
        best = -1.0 if flat.num_rows > MAX_PIECE else grow(flat, lead, _NEAREST, rows=self._sample).saved
        while len(lead) < min(_MAX_LEAD, len(worthy)):
            longer = [(*lead, f) for f in worthy if f not in lead]
            drafts = self._pool.map(lambda fields: grow(flat, fields, _NEAREST, rows=self._sample).saved, longer)
            saved, fields = max(zip(drafts, longer, strict=True), key=lambda pair: pair[0])
            if saved <= best * (1.0 + 1e-9):
                break
            best, lead = saved, fields
        return lead

    def _spared(self, rows: NDArray[np.int64] | slice) -> dict[int, float]:
        """What each searched field saves of these rows when it comes first; interchangeable ones cannot."""
        flat = self._flat
        saved = {}
        for f in np.flatnonzero(~flat.loose).tolist():
            sizes = np.bincount(flat.codes[rows, flat.columns[f]])
            saved[f] = float((flat.weights[flat.offsets[f] :][: len(sizes)] * np.maximum(sizes - 1, 0)).sum())
        return saved

    def _affords(self, visits: int, num_rows: int) -> bool:
        """Takes the visits of all cells of so many rows from the budget, if it has them."""
        cost = visits * num_rows * max(1, self._flat.num_fields)
        if cost > self._budget:
            return False
        self._budget -= cost
        return True

    @property
    def _close(self) -> bool:
        return self._order is not None and self._order.hits >= self._simple - _CLOSE * self._total

    def _grow(self, trials: Iterable[Trial]) -> None:
        num_rows = self._flat.num_rows
        affordable = [t for t in trials if self._order is None or self._affords(_VISITS[t.policy], num_rows)]
        began = time.perf_counter()
        if num_rows > MAX_PIECE:  # its pieces take the threads
            drafts = [grow(self._flat, trial.lead, trial.policy, pool=self._pool) for trial in affordable]
        else:
            drafts = list(self._pool.map(lambda trial: grow(self._flat, trial.lead, trial.policy), affordable))
        for trial, draft in zip(affordable, drafts, strict=True):
            self._measure_draft(trial.name, began, draft)

    def _reinsert(self) -> None:
        """Improves the drafts so far, the best first, as many as the budget has visits for."""
        drafts, self._drafts = sorted(self._drafts, key=lambda entry: -entry[0]), []
        num_fields = self._flat.num_fields
        for _, name, draft in drafts:
            if num_fields <= MAX_FIELDS and self._affords(1 + num_fields // 2, self._flat.num_rows):
                began = time.perf_counter()
                better = reinsert(self._flat, draft)
                wide = self._flat.widen(better.permutations)
                self._measure(f"{name}, reinserted", began, better.rows, wide, better.permutation_of)

    def _measure_draft(self, name: str, began: float, draft: Draft) -> None:
        hits = self._measure(name, began, draft.rows, self._flat.widen(draft.permutations), draft.permutation_of)
        self._drafts.append((hits, name, draft))

    def _measure(
        self,
        name: str,
        began: float,
        rows: NDArray[np.int64],
        permutations: NDArray[np.int16],
        permutation_of: NDArray[np.int32],
    ) -> float:
        if self._items.unordered:  # a row that holds a value twice may stand apart from another that does
            path = paths(self._items, rows, permutations, permutation_of)
            place = np.lexsort(path.T[::-1])
            rows, permutation_of = rows[place], permutation_of[place]
        measure = evaluate if self._options.cache_tokens else evaluate_depth_first
        hits = measure(self._items, rows, permutations, permutation_of, self._options)
        self._numbers[name] = {"hits": hits, "seconds": time.perf_counter() - began}
        if self._order is None or hits > self._order.hits:
            plan = (rows, permutations, permutation_of)
            self._order = Order(*plan, hits, self._total, self._simple, name, self._numbers)
        return hits

    def best(self) -> Order:
        """The best candidate so far."""
        assert self._order is not None
        bound = self._simple if self._close else min(self._simple, neighbour_bound(self._items, self._options))
        return replace(self._order, bound=max(bound, self._order.hits))

"""The portfolio: several trees are grown, each order is measured exactly, and the best is kept."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paceline.sql.items import Items, Order
from paceline.sql.order.bound import simple_bound
from paceline.sql.order.fixed import preference, sort_rows
from paceline.sql.order.flat import Flat, flatten
from paceline.sql.order.forest import Policy
from paceline.sql.order.hits import evaluate, evaluate_depth_first, paths
from paceline.sql.order.options import OrderOptions
from paceline.sql.order.reinsert import MAX_FIELDS, reinsert
from paceline.sql.order.sample import cluster_sample
from paceline.sql.order.tree import MAX_PIECE, Draft, gather, grow

_REACH = 1 << 14  # rows of a node that its trials look at
_COLUMNS = Policy(led=-1, num_columns=2, use_groups=False, optimism=0.0, reach=_REACH)
_MIXED = Policy(led=-1, num_columns=2, use_groups=True, optimism=0.2, reach=_REACH)
_BOLD = Policy(led=-1, num_columns=2, use_groups=True, optimism=0.75, reach=_REACH)
_GROUPS = Policy(led=-1, num_columns=0, use_groups=True, optimism=0.0, reach=_REACH)
_VISITS = 5  # of a cell while a tree is grown, about

_CLOSE = 0.01  # of the weight: a plan so near to the bound is not improved
_HOPE = 0.002  # of the gap to the bound: what moving single rows closes, about
_PREFILLED_PER_S = 50_000  # tokens, by a fast engine: a slower one would repay a longer search
_FREE_S = 0.0002  # spent in any case: what nobody notices
_CELLS_PER_S = 25_000_000  # visited; what turns seconds into a count
_SAMPLE_CELLS = 1 << 15  # from which one order for all rows is chosen

Fields = tuple[int, ...]


def plan(items: Items, options: OrderOptions | None = None) -> Order:
    """The best order found: no row is lost, and where rows agree in a prefix they stand side by side.

    Deterministic. The search goes on while what it may still save would take longer to send than to find.
    ``Order.bound`` is the first of ``bounds``; ``Order.numbers`` names every candidate's hits and seconds. Tables
    beyond the size of a piece are cut at their first levels and planned in pieces on two threads.

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
        self._budget = 0.0  # cells still to be visited
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
        sample = cluster_sample(flat, _SAMPLE_CELLS // max(1, flat.num_fields))
        order = preference(*gather(flat, sample, range(flat.num_fields))).tolist()
        unsearched_back = [f for f in flat.back if f not in self._items.pinned]
        return (*flat.front, *(f for bundle in order for f in flat.bundles[bundle]), *unsearched_back)

    def search(self) -> None:
        """A tree; then single rows and other trees, while the bound is far and more may be saved than it costs."""
        led, is_large = self._flat.led, self._flat.num_rows > MAX_PIECE
        columns, mixed = {"columns": _COLUMNS._replace(led=led)}, {"mixed": _MIXED._replace(led=led)}
        self._grow(columns if is_large else mixed)
        assert self._order is not None
        gap = self._simple - self._order.hits
        if is_large or gap < _CLOSE * self._total:
            return
        self._budget = _CELLS_PER_S * min(_HOPE * gap / _PREFILLED_PER_S, self._options.budget_s)
        self._reinsert(1)
        self._budget = _CELLS_PER_S * min(_FREE_S, self._options.budget_s)
        by_field = {f"led by {f}": _MIXED._replace(led=f) for f in (-1, *range(self._flat.num_fields)) if f != led}
        others = {**columns, "bold": _BOLD, "groups": _GROUPS, **by_field}
        self._grow({name: policy for name, policy in others.items() if self._affords(_VISITS)})
        self._reinsert(len(others))

    def _affords(self, visits: int) -> bool:
        """Takes the visits of all cells from the budget, if it has them."""
        cost = visits * self._flat.num_rows * max(1, self._flat.num_fields)
        if cost > self._budget:
            return False
        self._budget -= cost
        return True

    def _grow(self, policies: dict[str, Policy]) -> None:
        began = time.perf_counter()
        if self._flat.num_rows > MAX_PIECE:  # its pieces take the threads
            drafts = [grow(self._flat, policy, pool=self._pool) for policy in policies.values()]
        else:
            run = self._pool.map if len(policies) > 1 else map  # a thread takes its time to start
            drafts = list(run(lambda policy: grow(self._flat, policy), policies.values()))
        for name, draft in zip(policies, drafts, strict=True):
            self._measure_draft(name, began, draft)

    def _reinsert(self, most: int) -> None:
        """Improves the best drafts so far that were not improved yet, ``most`` or as many as the budget has visits for."""
        drafts = sorted(self._drafts, key=lambda entry: -entry[0])
        num_fields = self._flat.num_fields
        for _, name, draft in drafts[:most]:
            if num_fields <= MAX_FIELDS and self._affords(3 + num_fields // 4):
                began = time.perf_counter()
                better = reinsert(self._flat, draft)
                wide = self._flat.widen(better.permutations)
                self._measure(f"{name}, reinserted", began, better.rows, wide, better.permutation_of)
        self._drafts = drafts[most:]

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
            bound = max(hits, self._simple)  # sums of the same weights may differ in their last bits
            self._order = Order(*plan, hits, self._total, bound, name, self._numbers)
        return hits

    def best(self) -> Order:
        """The best candidate so far."""
        assert self._order is not None
        return self._order

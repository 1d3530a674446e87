"""Runs the predicates of one ``AskFilter``: pilot, then the best order, in chunks where a few rows are enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlglot import exp

from paceline.sql.ask import Requests
from paceline.sql.asker import Asker
from paceline.sql.load import RequestLoad
from paceline.sql.optimizer import FilterOrder
from paceline.sql.plan import AskFilter, Predicate, asked_of

Rows = NDArray[np.int64]


class Rowwise(Protocol):
    """What is needed of the run that the filter is part of."""

    def passing(self, query: exp.Query, rows: Rows, answers: dict[str, pa.Array], condition: exp.Expr) -> Rows:
        """Those of ``rows`` for which the condition is true."""
        ...

    def order(self, query: exp.Query, keys: Sequence[exp.Ordered]) -> Rows:
        """Row ids by ``keys``."""
        ...


@final
class FilterRun:
    """One run over the rows of ``query``, whose ids are 0, 1, … in ``requests``."""

    def __init__(
        self,
        node: AskFilter,
        requests: Sequence[tuple[Rows, Requests]],
        query: exp.Query,
        engine: Rowwise,
        asker: Asker,
    ) -> None:
        self._node = node
        self._query = query
        self._engine = engine
        self._asker = asker
        self._ids = requests[0][0]  # row id by position
        self._requests = {asked.column: one for asked, (_, one) in zip(asked_of(node), requests, strict=True)}
        self.policy = FilterOrder(len(node.predicates))

    def run(self) -> tuple[Rows, dict[str, pa.Array]]:
        """Ids of the rows that pass, and their answers."""
        kept = self._kept() if not self._asker.is_dry else self._count()
        return self._ids[kept], {name: one.values(kept) for name, one in self._requests.items()}

    def _kept(self) -> Rows:
        sequence = self._sequence()
        wanted = self._node.wanted
        self._pilot(sequence)
        kept: list[Rows] = []
        num_kept = start = 0
        while start < len(sequence) and (wanted is None or num_kept < wanted):
            size = len(sequence) if wanted is None else self.policy.chunk_rows(wanted - num_kept)
            chunk = sequence[start : start + size]
            passed = self._pass(chunk)
            kept.append(passed)
            num_kept += len(passed)
            start += size
        return np.sort(np.concatenate(kept)) if kept else np.zeros(0, np.int64)

    def _sequence(self) -> Rows:
        """Positions of all rows in the order in which they are looked at."""
        if self._node.order:
            return np.searchsorted(self._ids, self._engine.order(self._query, self._node.order))
        if self._node.wanted is not None:  # whole subtrees, so that a chunk shares prefixes
            return np.argsort(next(iter(self._requests.values())).ranks(), kind="stable")
        return np.arange(len(self._ids))

    def _pilot(self, sequence: Rows) -> None:
        """Asks every predicate about rows from all over the table, or about the first ones if these are wanted."""
        num_rows = self.policy.pilot_rows(len(sequence))
        if self._node.wanted is not None:
            num_rows = min(num_rows, self.policy.chunk_rows(self._node.wanted))
        if not num_rows:
            return
        spread = np.unique(np.linspace(0, len(sequence) - 1, num_rows).astype(np.int64))
        rows = np.sort(sequence[np.arange(num_rows) if self._node.order else spread])
        for number in range(len(self._node.predicates)):
            self._hold(number, rows)

    def _pass(self, rows: Rows) -> Rows:
        """Those of ``rows`` for which all predicates hold, asked in the order that is best by now."""
        for number in self.policy.sequence([self._load(one) for one in self._node.predicates]):
            rows = self._hold(number, np.sort(rows))
            if not len(rows):
                break
        return rows

    def _hold(self, number: int, rows: Rows) -> Rows:
        predicate = self._node.predicates[number]
        answers: dict[str, pa.Array] = {}
        for asked in predicate.asked:
            reached = rows
            if asked.guard is not None:
                reached = self._positions(self._engine.passing(self._query, self._ids[rows], answers, asked.guard))
            one = self._requests[asked.column]
            one.answer(reached)
            answers[asked.column] = one.values(rows)
        passed = self._positions(self._engine.passing(self._query, self._ids[rows], answers, predicate.condition))
        self.policy.observe(number, len(passed), len(rows))
        return passed

    def _positions(self, ids: Rows) -> Rows:
        return np.searchsorted(self._ids, ids)

    def _load(self, predicate: Predicate) -> RequestLoad:
        """What the predicate costs for one row."""
        load = RequestLoad(0, 0.0, 0.0, 0.0)
        for asked in predicate.asked:
            load += self._requests[asked.column].mean_load()
        return load

    def _count(self) -> Rows:
        """EXPLAIN: every row is taken along, with the share that is expected to be asked about."""
        every = np.arange(len(self._ids))
        enough = 1.0
        if self._node.wanted is not None and len(every):
            enough = min(1.0, self.policy.chunk_rows(self._node.wanted) / len(every))
        loads = [self._load(one) for one in self._node.predicates]
        for number in self.policy.sequence(loads):
            for asked in self._node.predicates[number].asked:
                one = self._requests[asked.column]
                one.report.reached = self._asker.reached * enough
                one.answer(every)
            self._asker.reached *= self.policy.selectivity(number)
        return every

"""Runs a plan: the engine runs what has no calls, calls become columns, row by row id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlglot import exp

from paceline.sql import reduce, render
from paceline.sql.ask import Requests
from paceline.sql.asker import Asker
from paceline.sql.engines import Engine
from paceline.sql.filters import FilterRun
from paceline.sql.plan import INPUT, NAMED, ROW, Ask, Asked, AskFilter, Node, Plan, Reduce, asked_of, column
from paceline.sql.spread import Spreading
from paceline.sql.together import answer_together

Rows = NDArray[np.int64]


@dataclass
class Execution:
    """One run of a plan. Temporary relations live until ``close``."""

    engine: Engine
    asker: Asker
    _relations: list[str] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)  # of sub-plans

    def __post_init__(self) -> None:
        self.asker.spreading = self.engine if isinstance(self.engine, Spreading) else None

    def run(self, plan: Plan) -> pa.Table:
        """The rows of the query."""
        for name, node in plan.named:
            self._names[name] = self._keep(render.select(node, self._answered))
        result = self.engine.arrow(self.sql(render.select(plan.root, self._answered)))
        return result.drop_columns([ROW]) if ROW in result.column_names else result

    def close(self) -> None:
        for relation in reversed(self._relations):
            self.engine.drop(relation)
        self._relations.clear()

    def sql(self, query: exp.Query) -> str:
        """Text for the engine, sub-plans under the names that their rows are kept by."""

        def change(node: exp.Expr) -> exp.Expr:
            if isinstance(node, exp.Table) and node.name in self._names:
                alias = node.alias or node.name
                return exp.alias_(exp.table_(self._names[node.name]), alias, table=True, quoted=True)
            return node

        return query.transform(change).sql(self.engine.dialect)

    def _keep(self, query: exp.Query) -> str:
        relation = self.engine.keep(self.sql(query))
        self._relations.append(relation)
        return relation

    def _load(self, rows: Rows, answers: dict[str, pa.Array]) -> str:
        relation = self.engine.load(pa.table({ROW: pa.array(rows), **answers}))
        self._relations.append(relation)
        return relation

    # -- nodes with calls -----------------------------------------------------------------------------------------

    def _answered(self, node: Node) -> exp.Query:
        """The rows of a node with calls, with ``_row`` and a column for every answer."""
        assert isinstance(node, Ask | AskFilter | Reduce)
        below = render.select(node.input, self._answered)
        if not render.has_row_ids(node.input):
            columns = [exp.column(name, quoted=True) for name in node.input.columns]
            kept = self._keep(exp.select(*columns).from_(below.subquery(INPUT)))
            below = exp.select("*").from_(exp.table_(kept))
        match node:
            case Ask(asked=asked):
                return self._ask(below, asked)
            case AskFilter():
                return self._filter(node, below)
            case Reduce():
                return self._reduce(node, below)

    def _ask(self, below: exp.Query, asked: Sequence[Asked]) -> exp.Query:
        found = [self._requests(below, one) for one in asked]
        if len(found) > 1:
            answer_together([requests for _, requests in found], self.asker)
        else:
            found[0][1].answer()
        rows = found[0][0]  # the same for all: calls in one node have one guard
        answers = {one.column: requests.values() for one, (_, requests) in zip(asked, found, strict=True)}
        return self._joined(below, rows, answers, "LEFT")

    def _filter(self, node: AskFilter, below: exp.Query) -> exp.Query:
        requests = [self._requests(below, one, guarded=False) for one in asked_of(node)]
        rows, answers = FilterRun(node, requests, below, self, self.asker).run()
        return self._joined(below, rows, answers, "INNER")

    def _reduce(self, node: Reduce, below: exp.Query) -> exp.Query:
        keys = [exp.alias_(key.copy(), f"k{number}") for number, key in enumerate(node.keys)]
        table = self.fetch(below, [*_fields(node.asked), *keys], node.asked.guard)
        num_fields = len(node.asked.call.fields)
        groups = reduce.groups(table.select(range(num_fields + 1, table.num_columns)), table.num_rows)
        columns = table.select(range(1, num_fields + 1))
        values = reduce.reduce(node.asked.call, columns, groups, self.asker)
        answers = values.take(pa.array(groups))
        return self._joined(below, table.column(ROW).to_numpy(), {node.asked.column: answers}, "LEFT")

    # -- pieces ---------------------------------------------------------------------------------------------------

    def _requests(self, query: exp.Query, one: Asked, *, guarded: bool = True) -> tuple[Rows, Requests]:
        """Row ids, and the requests of the rows that reach the call."""
        table = self.fetch(query, _fields(one), one.guard if guarded else None)
        return table.column(ROW).to_numpy(), Requests(one.call, table.drop_columns([ROW]), self.asker)

    def fetch(self, query: exp.Query, expressions: Sequence[exp.Expr], condition: exp.Expr | None) -> pa.Table:
        """Row ids and expressions over a query's rows, by row id."""
        source = query.subquery(INPUT)
        wanted = exp.select(column(ROW), *expressions).from_(source).order_by(column(ROW))
        return self.engine.arrow(self.sql(wanted.where(condition.copy()) if condition is not None else wanted))

    def order(self, query: exp.Query, keys: Sequence[exp.Ordered]) -> Rows:
        """Row ids in the order of ``keys``."""
        wanted = exp.select(column(ROW)).from_(query.subquery(INPUT)).order_by(*(key.copy() for key in keys))
        return self.engine.arrow(self.sql(wanted)).column(ROW).to_numpy()  # type: ignore[no-any-return]

    def passing(self, query: exp.Query, rows: Rows, answers: dict[str, pa.Array], condition: exp.Expr) -> Rows:
        """Those of ``rows`` for which a condition over their columns and ``answers`` is true."""
        joined = self._joined(query, rows, answers, "INNER")
        found = self.fetch(joined, [], condition).column(ROW).to_numpy()
        self.engine.drop(self._relations.pop())
        return found  # type: ignore[no-any-return]

    def _joined(self, query: exp.Query, rows: Rows, answers: dict[str, pa.Array], kind: str) -> exp.Query:
        loaded = self._load(rows, answers)
        new = [exp.column(name, table="_a", quoted=True) for name in answers]
        on = exp.EQ(this=column(ROW), expression=exp.column(ROW, table="_a", quoted=True))
        star = exp.Column(this=exp.Star(), table=exp.to_identifier(INPUT, quoted=True))
        return (
            exp.Select(expressions=[star, *new])
            .from_(query.subquery(INPUT))
            .join(exp.alias_(exp.table_(loaded), "_a", table=True), on=on, join_type=kind)
        )


def _fields(one: Asked) -> list[exp.Expr]:
    return [exp.alias_(item.expression.copy(), f"f{number}") for number, item in enumerate(one.call.fields)]


@dataclass(frozen=True, slots=True)
class Counted:
    """Counts what rules want to know, by the engine."""

    engine: Engine

    def distinct(self, node: Node, expressions: Sequence[exp.Expr]) -> int | None:
        rows = render.select(node, lambda asking: exp.select("1"))
        if any(table.name.startswith(NAMED) for table in rows.find_all(exp.Table)):
            return None  # rows of a sub-plan that has not run
        named = [exp.alias_(one.copy(), f"f{number}") for number, one in enumerate(expressions)]
        combinations = exp.select(*named).distinct().from_(rows.subquery(INPUT))
        counted = exp.select("count(*)").from_(combinations.subquery(INPUT))
        return int(self.engine.arrow(counted.sql(self.engine.dialect)).column(0)[0].as_py())

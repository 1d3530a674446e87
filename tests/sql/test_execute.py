"""A plan after all rules gives the rows of the plan as it was written."""

from __future__ import annotations

from contextlib import closing

import pyarrow as pa
import pytest

from paceline.sql import rules
from paceline.sql.asker import Asker, Memory
from paceline.sql.engines.duckdb import DuckDB
from paceline.sql.execute import Counted, Execution
from paceline.sql.parse import parse
from tests.sql.fakes import Model
from tests.sql.test_engines import PRODUCTS, RECORDS, REVIEWS

QUERIES = [record for record in RECORDS if record.kind == "query"]


def run(sql: str, *, with_rules: bool) -> tuple[pa.Table, int]:
    """The rows, and how many requests they took."""
    model, engine = Model(), DuckDB()
    with closing(engine):
        engine.register("reviews", REVIEWS)
        engine.register("products", PRODUCTS)
        plan = parse(sql, engine.dialect, engine.columns, engine.tables())
        if with_rules:
            plan, _ = rules.apply(plan, Counted(engine))
        with closing(Execution(engine, Asker(lambda name: model, Memory()))) as execution:
            return execution.run(plan), len(model.asked)


@pytest.mark.parametrize("record", QUERIES, ids=lambda record: record.where)
def test_rules_change_no_row_and_ask_no_more(record: object) -> None:
    sql = record.sql  # type: ignore[attr-defined]
    plain, num_plain = run(sql, with_rules=False)
    ruled, num_ruled = run(sql, with_rules=True)
    assert sorted(map(repr, plain.to_pylist())) == sorted(map(repr, ruled.to_pylist()))
    assert plain.column_names == ruled.column_names
    assert num_ruled <= num_plain

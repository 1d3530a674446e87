"""The front door: frames in and out, models, the store, what importing costs."""

from __future__ import annotations

import datetime
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import paceline.sql
from paceline.errors import ConfigError
from paceline.sql import connect
from paceline.sql.asker import Memory
from paceline.sql.engines.duckdb import DuckDB
from tests.sql.fakes import Model

ROWS = {"id": [1, 2, 3], "text": ["fine", None, "fine"]}


def test_importing_the_part_imports_no_engine_and_no_frames() -> None:
    code = "import sys, paceline.sql; print([n for n in ('duckdb', 'pyarrow', 'numba', 'torch', 'pandas', 'polars', 'sqlglot') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "make",
    [pa.table, lambda rows: pa.RecordBatch.from_pydict(rows), pd.DataFrame, pl.DataFrame, lambda rows: pl.DataFrame(rows).lazy(), dict],
    ids=["arrow", "batch", "pandas", "polars", "lazy", "dict"],
)  # fmt: skip
def test_frames_go_in(make: Callable[[Any], Any]) -> None:
    with connect(Model(), store=False) as con:
        con.register("t", make(ROWS))
        assert con.sql("SELECT id FROM t WHERE llm_filter('has fine?', text)").fetchall() == [(1,), (3,)]


def test_results_come_out_as_arrow_pandas_polars_and_rows() -> None:
    with connect(Model(), store=False) as con:
        con.register("t", ROWS)
        result = con.sql("SELECT id, llm_filter('has fine?', text) AS f FROM t ORDER BY id")
    assert result.arrow().column("f").to_pylist() == [True, False, True]
    assert list(result.df()["f"]) == [True, False, True]
    assert result.pl()["f"].to_list() == [True, False, True]
    assert result.fetchall()[0] == (1, True)


def test_a_column_of_several_types_is_refused() -> None:
    with connect(Model(), store=False) as con, pytest.raises(ConfigError, match="values of several types"):
        con.register("t", pd.DataFrame({"a": [1, "x"]}))


@pytest.mark.parametrize("suffix", ["parquet", "csv", "json"])
def test_files_go_in_by_path(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table(ROWS), path)
    elif suffix == "csv":
        pl.DataFrame(ROWS).write_csv(path)
    else:
        pl.DataFrame(ROWS).write_ndjson(path)
    with connect(Model(), store=False) as con:
        con.register("t", path)
        query = "SELECT id FROM {} WHERE llm_filter('has fine?', text)"
        assert con.sql(query.format("t")).fetchall() == con.sql(query.format(f"'{path}'")).fetchall() == [(1,), (3,)]


def test_a_file_that_is_not_there_is_named() -> None:
    with connect(Model(), store=False) as con, pytest.raises(ConfigError, match=r"'none\.parquet' cannot be read"):
        con.register("t", "none.parquet")


def test_a_table_can_be_replaced(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [7]}), tmp_path / "rows.parquet")
    with connect(Model(), store=False) as con:
        for data, expected in ((ROWS, 3), (tmp_path / "rows.parquet", 1), (ROWS, 3)):
            con.register("t", data)
            assert con.sql("SELECT count(*) FROM t").fetchall() == [(expected,)]


def test_types_survive() -> None:
    table = pa.table({
        "d": pa.array([Decimal("1.10")], pa.decimal128(5, 2)), "t": [datetime.datetime(2026, 1, 2)], "l": [[1, 2]],
        "s": [{"x": 1}], "b": [b"\x00"],
    })  # fmt: skip
    with connect(Model(), store=False) as con:
        con.register("t", table)
        [row] = con.sql("SELECT *, llm('x', d) AS a FROM t").fetchall()
    assert row == (Decimal("1.10"), datetime.datetime(2026, 1, 2), [1, 2], {"x": 1}, b"\x00", '<{"d": 1.10}>')


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, pa.table])
def test_map_gives_the_kind_of_frame_that_it_gets(kind: Callable[[Any], Any]) -> None:
    data = kind(ROWS)
    with connect(Model(), store=False) as con:
        mapped = con.map(data, "has fine?", fields=["text"], function="llm_filter", output="fine")
    assert isinstance(mapped, type(data))
    assert list(mapped["fine"].to_pylist() if isinstance(mapped, pa.Table) else mapped["fine"]) == [True, False, True]


def test_map_takes_labels_schemas_options_and_paths(tmp_path: Path) -> None:
    pq.write_table(pa.table(ROWS), tmp_path / "rows.parquet")
    with connect(Model(), store=False) as con:
        chosen = con.map(
            tmp_path / "rows.parquet", "Which?", function="llm_choice", labels=["fine", "it's"], fields=["text"]
        )
        read = con.map(ROWS, "Read.", function="llm_json", schema='{"n": "integer"}', on_error="keep")
    assert chosen.column("answer").to_pylist() == ["fine", "it's", "fine"]
    assert read.column("answer")[0].as_py()["value"] == {"n": 7}


def test_one_call_may_go_to_another_model() -> None:
    small, large = Model("small"), Model("large")
    with connect(small, store=False) as con:
        con.add_model("large", large)
        con.register("t", ROWS)
        con.sql("SELECT llm('x', id), llm('y', id, model := 'large') FROM t WHERE id = 1")
    assert (len(small.asked), len(large.asked)) == (1, 1)
    assert not small.closed, "it was given, and may be used elsewhere"


def test_answers_are_found_again_by_another_connection(tmp_path: Path) -> None:
    counts = []
    for _ in range(2):
        model = Model()
        with connect(model, store=tmp_path / "answers.sqlite") as con:
            con.register("t", ROWS)
            con.sql("SELECT llm('x', id) FROM t")
        counts.append(len(model.asked))
    assert counts == [3, 0]


def test_a_query_without_calls_opens_no_model() -> None:
    def never() -> Model:
        raise AssertionError("opened")

    con = paceline.sql.Connection(never, DuckDB(), Memory(), ExitStack(), prices={})
    con.register("t", ROWS)
    assert con.sql("SELECT count(*) AS n FROM t").fetchall() == [(3,)]
    assert con.explain("SELECT count(*) AS n FROM t").calls == ()
    con.close()


def test_temporary_tables_are_gone_afterwards() -> None:
    engine = DuckDB()
    with connect(Model(), engine=engine, store=False) as con:
        con.register("t", ROWS)
        con.sql(
            "WITH a AS (SELECT id, llm('x', text) AS l FROM t) SELECT a.l FROM a JOIN a AS b ON a.id = b.id WHERE llm_filter('y', a.l)"
        )
        left = engine.arrow("SELECT table_name FROM information_schema.tables").column(0).to_pylist()
    assert left == ["t"]


def test_progress_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    with connect(Model(), store=False, progress=True) as con:
        con.register("t", ROWS)
        assert con.sql("SELECT llm('x', id) FROM t").table.num_rows == 3

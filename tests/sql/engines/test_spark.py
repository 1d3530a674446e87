"""The Spark engine: rows that stay the same, files, errors, and requests sent by its tasks."""

from __future__ import annotations

import datetime
import gzip
import itertools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.relational.mock_server import Faults, MockServer
from paceline.errors import ConfigError, ExecutionError, PlanError, ResourceError
from paceline.sql import EndpointModel, LanguageModel, connect
from paceline.sql.clients.pacing import PacingOptions
from paceline.sql.spread import ModelSpec
from paceline.sql.store import AnswerStore
from tests.sql.fakes import Model

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from paceline.sql.engines.spark import Spark

pytestmark = [
    pytest.mark.spark,
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),  # no pandas is used
]

FAST = PacingOptions(backoff_s=0.01, max_backoff_s=0.1)
NUM_ROWS = 900
MAX_UNKEPT = 256 + 32  # answers that a task which is killed may lose: not yet stored, and on their way
ROWS = pa.table({
    "id": range(NUM_ROWS),
    "about": [f"{number % 30:04} " * 60 for number in range(NUM_ROWS)],
    "review": [f"review {number * 7919 % NUM_ROWS}" for number in range(NUM_ROWS)],
})  # fmt: skip
SUM_UP = "SELECT id, llm('Sum up.', about, review) AS s FROM rows ORDER BY id"
QUERY = "SELECT id, llm('Sum up.', about, review) AS s, llm_filter('Good?', review) AS f FROM rows ORDER BY id"


@pytest.fixture
def engine(spark: SparkSession) -> Iterator[Spark]:
    from paceline.sql.engines.spark import Spark

    made = Spark(spark)
    yield made
    made.close()
    assert spark.range(1).count() == 1, "a session that was given goes on"


# -- rows and files ---------------------------------------------------------------------------------------------------


def test_kept_rows_have_ids_in_their_order_and_stay_the_same(engine: Spark) -> None:
    engine.register("numbers", pa.table({"x": range(1000)}))
    name = engine.keep("SELECT x, rand() AS r FROM (SELECT x FROM numbers ORDER BY x DESC) WHERE x % 3 = 0")
    rows = engine.arrow(f"SELECT * FROM {name} ORDER BY _row")
    assert rows.column("_row").to_pylist() == list(range(334))
    assert rows.column("x").to_pylist() == list(range(999, -1, -3))
    assert engine.arrow(f"SELECT * FROM {name} ORDER BY _row").equals(rows)
    assert engine.arrow(f"SELECT sum(r) AS s FROM {name} WHERE _row = 7").column("s")[0] == rows.column("r")[7]
    engine.drop(name)
    assert engine.columns(name) is None


def test_kept_rows_come_from_partitions_of_any_size(engine: Spark) -> None:
    name = engine.keep("SELECT 7 AS x UNION ALL SELECT id FROM range(0, 100, 1, 5) WHERE id > 60 UNION ALL SELECT 8")
    rows = engine.arrow(f"SELECT _row, x FROM {name} ORDER BY _row")
    assert rows.column("_row").to_pylist() == list(range(41))
    assert sorted(rows.column("x").to_pylist()) == [7, 8, *range(61, 100)]
    assert engine.arrow(f"SELECT * FROM {engine.keep('SELECT 1 AS x WHERE false')}").num_rows == 0


def test_temporary_tables_are_no_tables(engine: Spark) -> None:
    engine.register("a table", pa.table({"a.b": [1], "c d": ["x"]}))
    loaded = engine.load(pa.table({"x": [1]}))
    assert "a table" in engine.tables()
    assert loaded not in engine.tables()
    assert engine.columns("`a table`") == {"a.b": "bigint", "c d": "string"}
    assert engine.arrow(f"SELECT * FROM {engine.keep('SELECT * FROM `a table`')}").column_names == [
        "_row",
        "a.b",
        "c d",
    ]
    assert engine.columns("nothing") is None


def test_connections_of_one_session_have_tables_of_their_own(engine: Spark, spark: SparkSession) -> None:
    first, second = engine.load(pa.table({"x": [1]})), type(engine)(spark).load(pa.table({"x": [2]}))
    assert engine.arrow(f"SELECT a.x, b.x AS y FROM {first} a, {second} b").to_pydict() == {"x": [1], "y": [2]}


def test_arrow_types_that_spark_has_not_are_widened(engine: Spark) -> None:
    columns = {
        "dictionary": pa.array(["a", "b", "a"]).dictionary_encode(),
        "uint8": pa.array([0, 255, None], pa.uint8()),
        "uint64": pa.array([0, 2**64 - 1, None], pa.uint64()),
        "half": pa.array([0.5, 1.5, None], pa.float16()),
        "large": pa.array(["", None, "é"], pa.large_string()),
        "view": pa.array(["", None, "é"], pa.string_view()),
        "naive": pa.array([datetime.datetime(2026, 1, 31, 23, 59), None, None]),
    }
    name = engine.load(pa.table(columns))
    found = engine.arrow(f"SELECT * FROM {name}").to_pydict()
    assert found == {column: values.to_pylist() for column, values in columns.items()}


LINES = '{"id": 1, "text": "one"}\n{"id": 2, "text": null}\n'
FILES: dict[str, Callable[[Path], object]] = {
    "t.parquet": lambda path: pq.write_table(pa.table({"id": [1, 2], "text": ["one", None]}), path),
    "t.csv": lambda path: path.write_text("id,text\n1,one\n2,\n"),
    "t.tsv": lambda path: path.write_text("id\ttext\n1\tone\n2\t\n"),
    "t.csv.gz": lambda path: path.write_bytes(gzip.compress(b"id,text\n1,one\n2,\n")),
    "t.jsonl": lambda path: path.write_text(LINES),
    "t.ndjson": lambda path: path.write_text(LINES),
    "t.json": lambda path: path.write_text(json.dumps([json.loads(line) for line in LINES.splitlines()], indent=1)),
    "lines.json": lambda path: path.write_text(LINES),
}


@pytest.mark.parametrize("name", FILES)
def test_files_are_tables(engine: Spark, tmp_path: Path, name: str) -> None:
    FILES[name](tmp_path / name)
    engine.register("t", str(tmp_path / name))
    assert engine.arrow("SELECT id, text FROM t ORDER BY id").to_pydict() == {"id": [1, 2], "text": ["one", None]}


def test_csv_cells_hold_quotes_and_lines(engine: Spark, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('text\n"She said ""no"", \nand left"\n')
    engine.register("t", str(tmp_path / "t.csv"))
    assert engine.arrow("SELECT text FROM t").to_pydict() == {"text": ['She said "no", \nand left']}


# -- errors -----------------------------------------------------------------------------------------------------------


def test_errors_of_spark_are_one_line(engine: Spark) -> None:
    for query in ("SELECT 1 / 0", "SELECT nothing FROM range(3)", "SELEC 1", "SELECT raise_error('stop')"):
        with pytest.raises(PlanError, match=r"^Spark cannot run a part of the query: .+$") as caught:
            engine.arrow(query)
        assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(engine: Spark, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'.+nothing\.csv' cannot be read as a table: .+does not exist"):
        engine.register("t", str(tmp_path / "nothing.csv"))


def test_without_a_session_one_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    from paceline.sql.engines import spark

    def fail() -> None:
        raise spark.PySparkRuntimeError("[JAVA_GATEWAY_EXITED] Java gateway process exited.\nmore")

    monkeypatch.setattr(spark.SparkSession, "active", fail)
    monkeypatch.setattr(spark.SparkSession.Builder, "getOrCreate", lambda builder: fail())
    with pytest.raises(ResourceError, match=r"Java gateway process exited\.\); it needs a Java runtime"):
        spark.Spark()


def test_a_session_that_runs_is_taken_and_left_running(spark: SparkSession) -> None:
    with connect(Model(), engine="spark", store=False) as connection:
        assert connection.sql("SELECT llm('Repeat.') AS t").fetchall() == [("<>",)]
    assert spark.range(1).count() == 1


def test_a_session_of_another_kind_is_refused(engine: Spark) -> None:
    with pytest.raises(ConfigError, match="classic session"):
        type(engine)("sc://127.0.0.1")  # type: ignore[arg-type]


# -- requests sent by tasks -------------------------------------------------------------------------------------------


@pytest.fixture
def tasks_alone_send(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks run in other processes: there the model is as it was."""

    def send(*_: Any) -> None:
        raise AssertionError("the driver asks")

    monkeypatch.setattr(EndpointModel, "ask", send)


def endpoint(server: MockServer, **options: Any) -> EndpointModel:
    return EndpointModel(server.url, "mock", **{"pacing": FAST, "timeout_s": 20.0, "api_key": "sk-secret", **options})


def query(
    model: LanguageModel, engine: Any, store: AnswerStore | bool = False, text: str = QUERY, **limits: Any
) -> pa.Table:
    with closing(model), connect(model, engine=engine, store=store) as connection:
        connection.register("rows", ROWS)
        return connection.sql(text, **limits).arrow()


@pytest.fixture(scope="module")
def by_duckdb() -> pa.Table:
    with MockServer() as server:
        return query(endpoint(server), "duckdb")


@pytest.mark.usefixtures("tasks_alone_send")
def test_answers_are_those_of_duckdb(engine: Spark, by_duckdb: pa.Table) -> None:
    with MockServer(api_key="sk-secret") as server:
        found = query(endpoint(server), engine)
    assert found.to_pydict() == by_duckdb.to_pydict()
    assert server.counts.requests == server.counts.paid == 2 * NUM_ROWS


@pytest.mark.usefixtures("tasks_alone_send")
def test_faults_lose_and_swap_no_row(engine: Spark, by_duckdb: pa.Table) -> None:
    with MockServer(faults=Faults(busy=0.1, reset=0.05, hang=0.02)) as server:
        found = query(endpoint(server, timeout_s=1.0), engine, text=SUM_UP)
    assert found.to_pydict() == by_duckdb.select(["id", "s"]).to_pydict()
    assert server.counts.paid <= 1.10 * NUM_ROWS


@pytest.mark.usefixtures("tasks_alone_send")
def test_tasks_that_are_killed_run_again_and_ask_what_is_not_kept(
    engine: Spark, by_duckdb: pa.Table, tmp_path: Path
) -> None:
    number = itertools.count(1)

    def kill_at(asked: dict[str, Any]) -> None:
        if next(number) == NUM_ROWS * 3 // 4:
            for worker in workers():
                worker.kill()

    with MockServer(respond=kill_at) as server, AnswerStore(tmp_path / "answers.sqlite") as store:
        found = query(endpoint(server), engine, store)
        assert found.to_pydict() == by_duckdb.to_pydict()
        assert next(number) > 2 * NUM_ROWS, "nobody was killed"
        assert server.counts.requests <= 2 * (NUM_ROWS + MAX_UNKEPT)
        asked = server.counts.requests
        query(endpoint(server), engine, store)
        assert server.counts.requests == asked


def workers() -> list[psutil.Process]:
    """Processes that run this session's Python tasks."""
    family = psutil.Process().children(recursive=True)
    daemons = {one.pid for one in family if any("pyspark.daemon" in word for word in one.cmdline())}
    return [one for one in family if one.ppid() in daemons]


@pytest.mark.usefixtures("tasks_alone_send")
def test_tasks_keep_the_order_and_share_the_window_of_one_client(engine: Spark) -> None:
    with MockServer(cache_tokens=1000) as server:
        query(endpoint(server, pacing=PacingOptions(max_window=8)), engine, text=SUM_UP)
    assert server.counts.cached_tokens > 0.8 * server.counts.prompt_tokens
    assert server.counts.most_at_once <= 8


@pytest.mark.usefixtures("tasks_alone_send")
def test_a_wrong_key_is_told_once_and_not_shown(engine: Spark) -> None:
    with MockServer(api_key="sk-right") as server, pytest.raises(ConfigError, match="401") as caught:
        query(endpoint(server), engine)
    assert "sk-secret" not in str(caught.value)


@pytest.mark.usefixtures("tasks_alone_send")
def test_what_fails_in_tasks_is_told_in_a_line(engine: Spark, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EndpointModel, "spec", lambda model, num_clients: ModelSpec("endpoint", {"nothing": 1}))
    with pytest.raises(ExecutionError, match=r"^Spark cannot send requests: TypeError: .+'nothing'$"):
        query(EndpointModel("http://127.0.0.1:1", "mock"), engine)


@pytest.mark.usefixtures("tasks_alone_send")
def test_what_was_answered_is_kept_where_the_query_ends_early(engine: Spark, tmp_path: Path) -> None:
    failing = QUERY.replace("review)", "review, on_error => 'fail')", 1)

    def fail(asked: dict[str, Any]) -> tuple[int, Any] | None:
        text = asked["messages"][-1]["content"]
        return (400, {"error": {"message": "no"}}) if re.search(r'review 7"', text) else None

    with MockServer(respond=fail) as server, AnswerStore(tmp_path / "answers.sqlite") as store:
        with pytest.raises(ExecutionError, match="no"):
            query(endpoint(server), engine, store, failing)
        assert store.stats().num_answers == NUM_ROWS - 1


@pytest.mark.usefixtures("tasks_alone_send")
def test_a_budget_is_looked_at_before_anything_is_sent(engine: Spark) -> None:
    with MockServer() as server, pytest.raises(ResourceError, match="max_requests"):
        query(endpoint(server), engine, max_requests=NUM_ROWS - 1)
    assert server.counts.requests == 0


def test_few_requests_are_sent_from_here(engine: Spark, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(engine), "spread", lambda *_: pytest.fail("a job for three requests"))
    with MockServer() as server:
        query(endpoint(server), engine, text="SELECT id, llm('Sum up.', review) AS s FROM rows WHERE id < 3")
    assert server.counts.requests == 3


def test_a_model_of_this_process_is_asked_here(engine: Spark) -> None:
    model = Model()
    query(model, engine)
    assert len(model.asked) == 2 * NUM_ROWS

"""Spark as the SQL engine, for tables that one machine does not hold."""

from __future__ import annotations

import itertools
import os
import socket
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar, final

import pyarrow as pa
from py4j.protocol import Py4JError  # type: ignore[import-untyped]
from pyspark.errors import AnalysisException, PySparkException, PySparkRuntimeError, PythonException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from paceline.errors import ConfigError, ExecutionError, PacelineError, PlanError, ResourceError
from paceline.sql.engines.spark_task import ANSWERS, Task, answers_by_number, requests_table
from paceline.sql.model import Answer
from paceline.sql.plan import ROW
from paceline.sql.spread import Portable, Request, subtree_ranks, waves

T = TypeVar("T")

_PREFIX: Final = "_paceline"
_PLACE: Final = f"{_PREFIX}_place"  # of a kept row: its partition, and its number there
_PARTITION_BITS: Final = 33  # of monotonically_increasing_id, below which the row's number stands

_RANGES_PER_TASK: Final = 8  # subtrees may hold so large a part of a task's requests that tasks stay about equal

_FAILURES: Final = (PySparkException, Py4JError)
_STOPS: Final[Mapping[str, type[PacelineError]]] = {"ConfigError": ConfigError, "ResourceError": ResourceError}
_ANSWERS: Final = from_arrow_schema(ANSWERS)


@final
class Spark:
    """Runs SQL on a Spark session: the one given, the one that runs, or else one that it starts.

    What the session's configuration says, holds: the master, memory, the catalog. A session that was started here ends
    with ``close``. Raises ResourceError if Spark does not start, for one without a Java runtime.
    """

    dialect = "spark"

    def __init__(self, session: SparkSession | None = None) -> None:
        found = session or _running()
        if not isinstance(found, SparkSession | None):
            raise ConfigError("Spark Connect has no executors that this process could use; give a classic session")
        self._owns = found is None
        self._spark = found or _started()
        self._own = f"{_PREFIX}_{uuid.uuid4().hex}"  # views are the session's, which other connections may use
        self._numbers = itertools.count()

    def register(self, name: str, data: pa.Table | str) -> None:
        if not isinstance(data, str):
            self._frame(data).createOrReplaceTempView(_quoted(name))
            return
        try:
            self._read(data).createOrReplaceTempView(_quoted(name))
        except _FAILURES as error:
            raise ConfigError(f"{data!r} cannot be read as a table: {_reason(error)}") from error

    def tables(self) -> list[str]:
        rows = _run(lambda: self._spark.sql("SHOW TABLES").collect())
        return [row.tableName for row in rows if not row.tableName.startswith(_PREFIX)]

    def columns(self, table: str) -> Mapping[str, str] | None:
        is_path = "." in table  # as in parquet.`file`
        if not (is_path or self._spark.catalog.tableExists(table)):  # Spark logs what it cannot analyse
            return None
        try:
            schema = self._spark.sql(f"SELECT * FROM {table}").schema
        except AnalysisException:
            return None
        return {column.name: column.dataType.simpleString() for column in schema.fields}

    def keep(self, sql: str) -> str:
        """See ``Engine.keep``. The rows are stored, so that a plan that runs again finds the same ones."""

        def kept() -> DataFrame:
            rows = self._spark.sql(sql).withColumn(_PLACE, F.monotonically_increasing_id())
            # A lost block of a local checkpoint ends the query; one on a shared disk is not lost.
            is_shared = self._spark.sparkContext.getCheckpointDir() is not None
            return _numbered(rows.checkpoint() if is_shared else rows.localCheckpoint())

        return self._named(_run(kept))

    def load(self, table: pa.Table) -> str:
        return self._named(self._frame(table))

    def arrow(self, sql: str) -> pa.Table:
        return _run(lambda: self._spark.sql(sql).toArrow())

    def drop(self, relation: str) -> None:
        self._spark.catalog.dropTempView(relation)

    def close(self) -> None:
        if self._owns:
            self._spark.stop()

    def spread(
        self,
        model: Portable,
        requests: Iterable[Request],
        done: Callable[[int, Answer], None],
        store: dict[str, Any] | None,
    ) -> None:
        """See ``Spreading.spread``. One task per core; tasks hold ranges of subtrees, in depth-first order."""
        num_tasks = self._spark.sparkContext.defaultParallelism
        task = Task(model.spec(num_tasks), store, socket.gethostname())
        first = 0
        for wave in waves(requests, num_tasks):
            answers, stopped = self._send(task, wave, num_tasks)
            _hand_over(first, answers, done)
            if stopped:
                raise _STOPS.get(stopped[0][0], ExecutionError)(stopped[0][1])
            if len(answers) < len(wave):
                raise ExecutionError(f"Spark gave back {len(answers)} of {len(wave)} answers")
            first += len(wave)

    def _send(self, task: Task, wave: list[Request], num_tasks: int) -> tuple[dict[int, Answer], list[tuple[str, str]]]:
        limit = max(1, len(wave) // (num_tasks * _RANGES_PER_TASK))
        ranks = subtree_ranks([request.ask.shared for request in wave], limit)
        numbered = ((rank, number, *request) for number, (rank, request) in enumerate(zip(ranks, wave, strict=True)))
        frame = self._frame(requests_table(numbered)).repartitionByRange(num_tasks, "subtree")
        sent = frame.sortWithinPartitions("number").mapInArrow(task.answer, _ANSWERS)
        try:
            return answers_by_number(sent.toArrow())
        except _FAILURES as error:
            raise ExecutionError(f"Spark cannot send requests: {_reason(error)}") from error

    def _named(self, frame: DataFrame) -> str:
        name = f"{self._own}_{next(self._numbers)}"
        frame.createOrReplaceTempView(name)
        return name

    def _frame(self, table: pa.Table) -> DataFrame:
        plain = pa.table([_plain(column) for column in table.columns], table.column_names)
        return _run(lambda: self._spark.createDataFrame(plain, from_arrow_schema(plain.schema, True)))

    def _read(self, path: str) -> DataFrame:
        reader = self._spark.read
        match path.removesuffix(".gz").rpartition(".")[2]:
            case "parquet":
                return reader.parquet(path)
            case "csv" | "tsv" as kind:
                separator = "," if kind == "csv" else "\t"
                return reader.csv(path, sep=separator, header=True, inferSchema=True, multiLine=True, escape='"')
            case _:
                first = reader.text(path).head()
                is_list = first is not None and first.value.lstrip().startswith("[")
                return reader.json(path, multiLine=is_list)


def _hand_over(first: int, answers: dict[int, Answer], done: Callable[[int, Answer], None]) -> None:
    """All of them, even where ``done`` raises: they are paid for."""
    raised: PacelineError | None = None
    for number in sorted(answers):
        try:
            done(first + number, answers[number])
        except PacelineError as error:
            raised = raised or error
    if raised is not None:
        raise raised


def _running() -> SparkSession | None:
    try:
        return SparkSession.active()
    except PySparkRuntimeError:
        return None


def _started() -> SparkSession:
    builder = SparkSession.builder.appName("paceline").config("spark.ui.showConsoleProgress", "false")
    builder = builder.config("spark.ui.enabled", "false")  # it listens on a port, which nobody asked for
    try:
        session = builder.getOrCreate()
    except (PySparkException, Py4JError, OSError) as error:
        raise ResourceError(f"Spark does not start ({_reason(error)}); it needs a Java runtime, 17 or newer") from error
    context = session.sparkContext
    if (context.master or "").startswith("local") and "PYSPARK_PYTHON" not in os.environ:
        context.pythonExec = sys.executable  # not the first python3 of the path, which may lack this package
    return session


def _numbered(rows: DataFrame) -> DataFrame:
    """Rows with ``_row``, from 0 without gaps, by their partitions and their numbers there."""
    partition = F.shiftright(_PLACE, _PARTITION_BITS).cast("int")
    counts = {int(p): int(n) for p, n in rows.groupBy(partition).count().collect()}
    before = itertools.accumulate((counts.get(p, 0) for p in range(max(counts, default=0))), initial=0)
    first = F.array([F.lit(number).cast("long") for number in before])
    number = F.element_at(first, partition + 1) + F.col(_PLACE).bitwiseAND((1 << _PARTITION_BITS) - 1)
    return rows.select(number.alias(ROW), "*").drop(_PLACE)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of a type that Spark has."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return column.cast(kind.value_type)
    if pa.types.is_unsigned_integer(kind):
        wider = {8: pa.int16(), 16: pa.int32(), 32: pa.int64(), 64: pa.decimal128(20, 0)}
        return column.cast(wider[kind.bit_width])
    if pa.types.is_float16(kind):
        return column.cast(pa.float32())
    if pa.types.is_string_view(kind):
        return column.cast(pa.string())
    return column


def _run(work: Callable[[], T]) -> T:
    try:
        return work()
    except _FAILURES as error:
        raise PlanError(f"Spark cannot run a part of the query: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What Spark says, without the plan and the stack traces; of an exception in Python, the exception."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1] if isinstance(error, PythonException) else lines[0]


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"

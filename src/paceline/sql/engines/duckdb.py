"""DuckDB, in this process: the default."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import final

import duckdb
import pyarrow as pa

from paceline.errors import ConfigError, PlanError
from paceline.sql.plan import ROW

_PREFIX = "_paceline"


@final
class DuckDB:
    """Runs SQL on a DuckDB connection, a fresh one in memory unless one is given."""

    dialect = "duckdb"

    def __init__(self, connection: duckdb.DuckDBPyConnection | None = None) -> None:
        self._db = connection if connection is not None else duckdb.connect()
        self._owns = connection is None
        self._numbers = itertools.count()
        self._loaded: set[str] = set()

    def register(self, name: str, data: pa.Table | str) -> None:
        self._db.unregister(name)
        self._run(f"DROP VIEW IF EXISTS {_quoted(name)}")
        if not isinstance(data, str):
            self._db.register(name, data)
            return
        try:
            self._db.execute(f"CREATE TEMP VIEW {_quoted(name)} AS SELECT * FROM {_literal(data)}")
        except duckdb.Error as error:
            raise ConfigError(f"{data!r} cannot be read as a table: {_reason(error)}") from error

    def tables(self) -> list[str]:
        rows = self._run("SELECT table_name FROM information_schema.tables").fetchall()
        return [name for (name,) in rows if not name.startswith(_PREFIX)]

    def columns(self, table: str) -> Mapping[str, str] | None:
        try:
            rows = self._db.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()
        except (duckdb.CatalogException, duckdb.IOException, duckdb.BinderException):
            return None
        return {row[0]: row[1] for row in rows}

    def keep(self, sql: str) -> str:
        name = self._fresh_name()
        self._run(f"CREATE TEMP TABLE {name} AS SELECT row_number() OVER () - 1 AS {ROW}, * FROM ({sql})")
        return name

    def load(self, table: pa.Table) -> str:
        name = self._fresh_name()
        self._db.register(name, table)
        self._loaded.add(name)
        return name

    def arrow(self, sql: str) -> pa.Table:
        try:
            return self._db.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            raise _plan_error(error) from error

    def drop(self, relation: str) -> None:
        if relation in self._loaded:
            self._loaded.discard(relation)
            self._db.unregister(relation)
        else:
            self._run(f"DROP TABLE IF EXISTS {relation}")

    def close(self) -> None:
        if self._owns:
            self._db.close()

    def _fresh_name(self) -> str:
        return f"{_PREFIX}{next(self._numbers)}"

    def _run(self, sql: str) -> duckdb.DuckDBPyConnection:
        try:
            return self._db.execute(sql)
        except duckdb.Error as error:
            raise _plan_error(error) from error


def _plan_error(error: duckdb.Error) -> PlanError:
    return PlanError(f"DuckDB cannot run a part of the query: {_reason(error)}")


def _reason(error: duckdb.Error) -> str:
    """What DuckDB says, on one line, without the SQL (it is not the user's) and the list of all settings below."""
    return " ".join(str(error).partition("\n\n")[0].split())


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

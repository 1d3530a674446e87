"""The port to an SQL engine: what runs the parts of a query that need no language model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from paceline.registry import Registry

if TYPE_CHECKING:
    import pyarrow as pa


class Engine(Protocol):
    """Runs SQL without calls. Relations that it keeps have row ids, by which answers find their rows again."""

    @property
    def dialect(self) -> str:
        """The name of its SQL in sqlglot."""
        ...

    def register(self, name: str, data: pa.Table | str) -> None:
        """Makes a table, or a file by its path, known under ``name``; replaces what had it before."""
        ...

    def tables(self) -> list[str]:
        """Names of all tables that a query can read, for hints."""
        ...

    def columns(self, table: str) -> Mapping[str, str] | None:
        """Names and types of a table's columns, ``table`` as written in SQL; None if there is no such table."""
        ...

    def keep(self, sql: str) -> str:
        """Runs a query and keeps its rows, in their order, under the name returned.

        A column ``_row`` is added that numbers them from 0.
        """
        ...

    def load(self, table: pa.Table) -> str:
        """Makes an Arrow table readable under the name returned."""
        ...

    def arrow(self, sql: str) -> pa.Table:
        """The rows of a query."""
        ...

    def drop(self, relation: str) -> None:
        """Forgets what ``keep`` or ``load`` made."""
        ...

    def close(self) -> None: ...


ENGINES: Registry[Callable[[], Engine]] = Registry("sql engine")
"""SQL engines by name; a package adds its own by an entry point in the group ``paceline.sql_engine``."""

ENGINES.register_lazy("duckdb", "paceline.sql.engines.duckdb:DuckDB")
ENGINES.register_lazy("spark", "paceline.sql.engines.spark:Spark")

"""Rows of a query for people, for programs and for files."""

from __future__ import annotations

import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from paceline.cli.console import console
from paceline.errors import ConfigError, ResourceError
from paceline.process.atomic import write_atomic
from paceline.sql.prompt import UnreadableError, cell_text, row_text, value_text

MAX_ROWS: Final = 40  # on a terminal
MAX_WIDTH, MIN_WIDTH, GAP = 60, 8, 2  # of a column there

_AS_IS: Final = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_boolean,
    pa.types.is_decimal,
    pa.types.is_temporal,
)


def check_output(path: Path) -> None:
    """ConfigError or ResourceError if rows cannot be written to ``path``; better said before they are paid for."""
    if path.suffix.lower() not in _WRITERS:
        raise ConfigError(f"--output must end with {', '.join(_WRITERS)}; got {str(path)!r}")
    if path.is_dir():
        raise ResourceError(f"cannot write {path}: it is a folder; name a file in it")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ResourceError(f"cannot write {path}: {folder}: {error.strerror or error}; name another file") from error


def write(table: pa.Table, path: Path) -> None:
    """Writes a whole file or none, in the format of its ending. ResourceError if that fails."""
    write_atomic(path, _WRITERS[path.suffix.lower()](table))


def show(table: pa.Table) -> None:
    """Rows on standard output: a table that fits the terminal, CSV elsewhere."""
    if sys.stdout.isatty():
        _show(table)
    else:
        sys.stdout.write(as_csv(table).decode())


def as_json(table: pa.Table) -> str:
    """An array of objects. Decimals keep their digits, timestamps are ISO 8601."""
    return f"[{', '.join(_json_rows(table))}]"


def as_csv(table: pa.Table) -> bytes:
    """With a header; texts are quoted, so that an empty text and NULL, which is nothing, differ."""
    from pyarrow import csv

    columns = [_flat(column) for column in table.columns]
    sink = io.BytesIO()
    csv.write_csv(pa.Table.from_arrays(columns, names=table.column_names), sink)
    return sink.getvalue()


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as CSV can hold it: lists and structs as JSON."""
    kind = column.type
    if any(fits(kind) for fits in _AS_IS) and not pa.types.is_duration(kind) and not pa.types.is_interval(kind):
        return column
    return pa.chunked_array([[None if value is None else _text(value) for value in column.to_pylist()]], pa.string())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _json(value) if isinstance(value, dict | list | bool) else str(value)


def _json(value: Any) -> str:
    try:
        return value_text(value)
    except UnreadableError:  # bytes that are no text
        return json.dumps(str(value))


def _json_rows(table: pa.Table) -> Iterator[str]:
    names = table.column_names
    for batch in table.to_batches():
        for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield row_text(cell_text(name, _json(value)) for name, value in zip(names, values, strict=True))


def _parquet(table: pa.Table) -> bytes:
    from pyarrow import parquet

    sink = io.BytesIO()
    parquet.write_table(table, sink)
    return sink.getvalue()


def _json_lines(table: pa.Table) -> bytes:
    return "".join(f"{row}\n" for row in _json_rows(table)).encode()


_WRITERS: Final[dict[str, Callable[[pa.Table], bytes]]] = {
    ".parquet": _parquet,
    ".csv": as_csv,
    ".json": lambda table: f"{as_json(table)}\n".encode(),
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
}


def _show(table: pa.Table) -> None:
    from rich.table import Table

    screen = console()
    shown = table.slice(0, MAX_ROWS).select(range(min(table.num_columns, max(1, screen.width // (MIN_WIDTH + GAP)))))
    cells = [[_cell(value) for value in column.to_pylist()] for column in shown.columns]
    names = [_cell(name) for name in shown.column_names]
    width = _width(
        [max(text.cell_len for text in (name, *texts)) for name, texts in zip(names, cells, strict=True)], screen.width
    )
    grid = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    for field, name in zip(shown.schema, names, strict=True):
        is_number = (
            pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        )
        grid.add_column(_cut(name, width), justify="right" if is_number else "left", no_wrap=True)
    for texts in zip(*cells, strict=True):
        grid.add_row(*(_cut(text, width) for text in texts))
    screen.print(grid)
    left_out = [f"{have:,} {noun}" for have, seen, noun in _sizes(table, shown) if seen < have]
    if left_out:
        screen.print(f"[dim]the first of {' and '.join(left_out)}; -o FILE writes all[/]")


def _sizes(table: pa.Table, shown: pa.Table) -> tuple[tuple[int, int, str], ...]:
    return (table.num_rows, shown.num_rows, "rows"), (table.num_columns, shown.num_columns, "columns")


def _cell(value: Any) -> Any:
    """A value on one line. An answer is a stranger's text: what could steer the terminal becomes a space."""
    from rich.text import Text

    if value is None:
        return Text("NULL", style="dim")
    return Text("".join(letter if letter.isprintable() else " " for letter in _text(value)))


def _width(widths: list[int], room: int) -> int:
    """How wide columns may be at most, so that all fit."""
    fits = (most for most in range(MAX_WIDTH, MIN_WIDTH, -1) if sum(min(width, most) + GAP for width in widths) <= room)
    return next(fits, MIN_WIDTH)


def _cut(text: Any, width: int) -> Any:
    cut = text.copy()
    cut.truncate(width, overflow="ellipsis")
    return cut

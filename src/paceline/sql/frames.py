"""pandas, Polars, Arrow and files in; pandas, Polars and Arrow out. None of them is imported before it is there."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from paceline.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

_SUFFIXES = (".parquet", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".csv.gz", ".json.gz")


def to_table(data: Any) -> pa.Table | str:
    """``data`` as Arrow, or as the path that it is.

    Takes Arrow tables and batches, pandas and Polars frames, dictionaries of lists, and paths of Parquet, CSV and
    JSON files (also patterns such as ``parts/*.parquet``). Raises ConfigError for anything else, for a file of an unknown
    kind, and for text that is not UTF-8.

    >>> to_table({"a": [1, 2]}).num_rows
    2
    """
    if isinstance(data, str | os.PathLike):
        path = os.fspath(data)
        if not path.endswith(_SUFFIXES):
            raise ConfigError(f"cannot tell the format of {path!r}; known endings: {', '.join(_SUFFIXES)}")
        return path
    try:
        return _checked(_arrow(data))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ConfigError(
            f"the table cannot be read, a column seems to hold values of several types: {error}"
        ) from error


def _arrow(data: Any) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if isinstance(data, pa.RecordBatchReader):
        return data.read_all()
    if isinstance(data, Mapping):
        return pa.table(dict(data))
    if _is(data, "pandas", "DataFrame"):
        return pa.Table.from_pandas(data, preserve_index=False)
    if _is(data, "polars", "LazyFrame"):
        data = data.collect()
    if _is(data, "polars", "DataFrame"):
        return data.to_arrow()
    if hasattr(data, "__arrow_c_stream__"):
        return pa.table(data)
    raise ConfigError(
        f"a table must be an Arrow, pandas or Polars frame, a dictionary or a path; got {type(data).__name__}"
    )


def _is(data: object, package: str, name: str) -> bool:
    """Whether ``data`` is of a class of a package; one that was never imported has made no objects."""
    kind = getattr(sys.modules.get(package), name, None)
    return kind is not None and isinstance(data, kind)


def _checked(table: pa.Table) -> pa.Table:
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            continue
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            raise ConfigError(
                f"the column {name!r} holds text that is not UTF-8 ({error}); give it as binary, and calls fail on those "
                "rows alone, or decode it before"
            ) from error
    return table


def like(table: pa.Table, data: Any) -> Any:
    """``table`` as the kind of frame that ``data`` is; Arrow for everything else."""
    if _is(data, "pandas", "DataFrame"):
        return to_pandas(table)
    if _is(data, "polars", "DataFrame") or _is(data, "polars", "LazyFrame"):
        return to_polars(table)
    return table


def to_pandas(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas()


def to_polars(table: pa.Table) -> pl.DataFrame:
    import polars as pl

    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame

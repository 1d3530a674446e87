"""Arrow columns -> items: one number per distinct value of a field, one row per distinct request."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from paceline.errors import ConfigError
from paceline.sql.items import Items
from paceline.sql.order.kernels import number_rows

CHARS_PER_TOKEN = 4  # of English text; what is assumed without a tokenizer


@dataclass(frozen=True, slots=True)
class Encoded:
    """The distinct requests of a table.

    Row ``r`` of the table is answered by request ``request_of[r]``, which is row ``first_of[request_of[r]]`` of it.
    """

    items: Items  # one row per distinct request
    fields: tuple[str, ...]
    request_of: NDArray[np.int32]  # [rows of the table]
    first_of: NDArray[np.int64]  # [requests], the first row of the table that asks it


def cell_text(key: str, value: object) -> str:
    """What a cell adds to the JSON object of its row.

    >>> cell_text("title", None)
    '"title": null, '
    """
    return f'"{key}": {json.dumps(value, ensure_ascii=False, default=str)}, '


def encode(
    table: pa.Table,
    fields: Sequence[str],
    *,
    num_tokens: Callable[[str], int] | None = None,
    text_of: Callable[[str, object], str] = cell_text,
    unordered: Sequence[Sequence[str]] = (),
    pinned: Sequence[str] = (),
) -> Encoded:
    """Numbers the values of ``fields`` and merges equal rows.

    Weights are counted once per distinct value, by ``num_tokens`` of ``text_of(key, value)``, or as a quarter of the
    characters. NULL and '' are different values, and so are 1 and '1', which no column holds together. Rows that hold
    the same values in the fields of an ``unordered`` group, in whatever order, are one request.

    Raises ConfigError for an unknown field, and for unordered fields of different types.

    >>> encoded = encode(pa.table({"a": ["x", "", None, "x"]}), ["a"])
    >>> encoded.request_of.tolist(), encoded.items.codes.ravel().tolist()
    ([0, 1, 2, 0], [0, 1, 2])
    """
    names = tuple(fields)
    for name in (*names, *pinned, *(name for group in unordered for name in group)):
        _check(name, table.column_names if name not in names else names, table.column_names)
    groups = [tuple(names.index(name) for name in group) for group in unordered]
    codes = np.empty((table.num_rows, len(names)), np.int32)
    weights: list[NDArray[np.float64]] = [np.zeros(0)] * len(names)
    for members in [*groups, *((f,) for f in range(len(names)) if not any(f in group for group in groups))]:
        columns = [table.column(names[f]) for f in members]
        if len({column.type for column in columns}) > 1:
            raise ConfigError(
                f"unordered fields must have one type, got {', '.join(f'{names[f]} {table.column(names[f]).type}' for f in members)}"
            )
        numbers, values = _numbered(columns)
        codes[:, list(members)] = numbers.reshape(len(members), -1).T
        counted = _weights(names[members[0]], values, num_tokens, text_of)
        for f in members:
            weights[f] = counted
    same = codes.copy() if groups else codes
    for members in groups:
        same[:, list(members)] = np.sort(codes[:, list(members)], axis=1)
    request_of, first_of = number_rows(same)
    pins = tuple(names.index(name) for name in pinned)
    loose = tuple(group for group in groups if len(group) > 1)
    return Encoded(Items(codes[first_of], tuple(weights), loose, pins), names, request_of, first_of)


def _check(name: str, known: Sequence[str], columns: Sequence[str]) -> None:
    if name not in known or name not in columns:
        near = difflib.get_close_matches(name, columns, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(columns)}"
        raise ConfigError(f"no field {name!r} among the fields of the prompt; {hint}")


def _numbered(columns: list[pa.ChunkedArray]) -> tuple[NDArray[np.int32], pa.Array | list[object]]:
    """Codes of all columns one behind the other, and their distinct values."""
    joined = pa.chunked_array([chunk for column in columns for chunk in column.chunks], columns[0].type)
    if pa.types.is_nested(joined.type):  # Arrow hashes flat values alone
        numbers: dict[str, int] = {}
        values: list[object] = []
        found = np.empty(len(joined), np.int32)
        for i, value in enumerate(joined.to_pylist()):
            found[i] = numbers.setdefault(repr(value), len(numbers))
            if found[i] == len(values):
                values.append(value)
        return found, values
    if pa.types.is_dictionary(joined.type):
        joined = joined.cast(joined.type.value_type)
    encoded = joined.dictionary_encode(null_encoding="encode").combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):  # no chunk at all
        return np.zeros(0, np.int32), pa.array([], joined.type)
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False), encoded.dictionary


def _weights(
    key: str,
    values: pa.Array | list[object],
    num_tokens: Callable[[str], int] | None,
    text_of: Callable[[str, object], str],
) -> NDArray[np.float64]:
    """Tokens of each value's cell."""
    if num_tokens is None and text_of is cell_text and isinstance(values, pa.Array):
        quotes = len('""') if pa.types.is_string(values.type) else 0
        if quotes or pa.types.is_integer(values.type):  # by Arrow: millions of Python calls take seconds
            lengths = pc.add(pc.utf8_length(values.cast(pa.string())), quotes)
            found = pc.fill_null(lengths, len("null")).to_numpy(zero_copy_only=False)
            return (found + len(cell_text(key, "")) - len('""')) / CHARS_PER_TOKEN  # type: ignore[no-any-return]
    listed = values if isinstance(values, list) else values.to_pylist()
    if num_tokens is None:
        return np.array([len(text_of(key, value)) / CHARS_PER_TOKEN for value in listed], np.float64)
    return np.array([num_tokens(text_of(key, value)) for value in listed], np.float64)

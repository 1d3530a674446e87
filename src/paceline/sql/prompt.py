"""What the model is shown, and how its answer is read.

A prompt is the question, then the row as one line of JSON in the row's own order of fields. Everything before the
JSON is the same for all rows. Values are written type-exact, so that equal texts mean equal values: NULL is ``null``
and '' is ``""``, a decimal keeps its digits, a timestamp is ISO 8601.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa

from paceline.sql.call import Call
from paceline.sql.load import MEAN_OUTPUT

INSTRUCTIONS: Final = (
    "You are a data analyst. Answer the question from the fields of the JSON row. Reply with the answer only."
)
"""A system text that makes small general models keep to the point."""


class UnreadableError(Exception):
    """A value that cannot be shown, or an answer that cannot be read; the text says why."""


def value_text(value: object) -> str:
    """A value as canonical JSON.

    >>> value_text(Decimal("1.50")), value_text(True), value_text(None), value_text(""), value_text([1, "é"])
    ('1.50', 'true', 'null', '""', '[1, "é"]')
    """
    match value:
        case None | bool() | int():
            return json.dumps(value)
        case float():
            return json.dumps(value if math.isfinite(value) else str(value))  # JSON has no NaN
        case str():
            return json.dumps(value, ensure_ascii=False)
        case Decimal():
            return f"{value:f}"
        case datetime.datetime() | datetime.date() | datetime.time():
            return json.dumps(value.isoformat())
        case bytes():
            return _bytes_text(value)
        case Mapping():
            return f"{{{', '.join(cell_text(str(name), value_text(item)) for name, item in value.items())}}}"
        case list() | tuple():
            return f"[{', '.join(map(value_text, value))}]"
    return json.dumps(str(value), ensure_ascii=False)  # intervals, UUIDs


def _bytes_text(value: bytes) -> str:
    try:
        return json.dumps(value.decode(), ensure_ascii=False)
    except UnicodeDecodeError as error:
        raise UnreadableError(
            f"is not UTF-8 text (byte {error.start}); decode it in the query, or leave it out"
        ) from error


def column_texts(column: pa.ChunkedArray) -> tuple[pa.Array, str | None]:
    """A column as JSON texts, null where a value cannot be shown, and why the first of them cannot."""
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    flat = not pa.types.is_nested(array.type)
    coded = (
        array.dictionary_encode(null_encoding="encode") if flat and not pa.types.is_dictionary(array.type) else array
    )
    values = coded.dictionary if pa.types.is_dictionary(coded.type) else coded
    reason = None
    texts: list[str | None] = []
    for value in _single_precision(values):
        try:
            texts.append(value_text(value))
        except UnreadableError as error:
            reason = reason or str(error)
            texts.append(None)
    rendered = pa.array(texts, pa.string())
    if not pa.types.is_dictionary(coded.type):
        return rendered, reason
    return pa.DictionaryArray.from_arrays(coded.indices, rendered).cast(pa.string()), reason


def _single_precision(values: pa.Array) -> Iterable[object]:
    """Python values; a float of 32 bits with the digits that tell it apart, not those of its double."""
    if pa.types.is_float32(values.type) or pa.types.is_float16(values.type):
        return [None if value is None else float(str(np.float32(value))) for value in values.to_pylist()]
    return values.to_pylist()  # type: ignore[no-any-return]


def cell_text(key: str, text: str) -> str:
    """
    >>> cell_text("title", '"Up"')
    '"title": "Up"'
    """
    return f"{json.dumps(key, ensure_ascii=False)}: {text}"


def row_text(cells: Iterable[str]) -> str:
    return f"{{{', '.join(cells)}}}"


def user_text(question: str, row: str, *, data_first: bool = False) -> str:
    """The user's message. ``data_first`` lets several questions about one row share the row.

    >>> print(user_text("Is it good?", '{"title": "Up"}'))
    Is it good?
    {"title": "Up"}
    """
    if not row:
        return question
    return f"{row}\n{question}" if data_first else f"{question}\n{row}"


def answer_type(call: Call) -> pa.DataType:
    """Arrow's type of the answers, without what ``on_error`` adds."""
    match call.kind:
        case "llm_filter":
            return pa.bool_()
        case "llm_score":
            return pa.float64()
        case "llm_json":
            return _schema_type(json.loads(call.schema))
    return pa.string()


_SCALARS: Final = {"string": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}


def _schema_type(schema: Mapping[str, Any]) -> pa.DataType:
    """The Arrow type of a JSON schema; text for what has no one type."""
    kind = schema.get("type")
    if kind == "object" and schema.get("properties"):
        return pa.struct([(name, _schema_type(inner)) for name, inner in schema["properties"].items()])
    if kind == "array" and isinstance(schema.get("items"), dict):
        return pa.list_(_schema_type(schema["items"]))
    return _SCALARS.get(kind, pa.string()) if isinstance(kind, str) else pa.string()


def stand_in(call: Call, number: int) -> Any:
    """What EXPLAIN takes for an answer: of usual length, and another for every request."""
    match call.kind:
        case "llm_filter":
            return True
        case "llm_choice":
            return call.labels[number % len(call.labels)]
        case "llm_score":
            return float(number)
        case "llm_json":
            return None
    return f"answer {number} " * int(MEAN_OUTPUT[call.kind] / 3)


def read_answer(call: Call, text: str) -> Any:
    """The value that an answer stands for; UnreadableError if it is none of the allowed ones.

    >>> from paceline.sql.call import Call
    >>> read_answer(Call("llm_filter", "Good?", ()), " Yes."), read_answer(Call("llm_score", "Stars?", ()), "4 of 5")
    (True, 4.0)
    """
    plain = text.strip()
    match call.kind:
        case "llm_filter":
            return _chosen(plain, {"yes": True, "no": False, "true": True, "false": False})
        case "llm_choice":
            return _chosen(plain, {label: label for label in call.labels})
        case "llm_score":
            number = re.search(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", plain)
            if number is None:
                raise UnreadableError(f"the answer {_short(plain)} has no number")
            return float(number.group())
        case "llm_json":
            return _read_json(plain, answer_type(call))
    return plain


def _chosen(text: str, values: Mapping[str, Any]) -> Any:
    if text in values:
        return values[text]
    folded = {label.casefold(): value for label, value in values.items()}
    bare = text.strip(" \t\r\n.\"'`*!").casefold()
    if bare not in folded:
        raise UnreadableError(f"the answer {_short(text)} is none of {', '.join(values)}")
    return folded[bare]


def _read_json(text: str, kind: pa.DataType) -> Any:
    start, end = text.find("{"), text.rfind("}")
    try:
        value = json.loads(text[start : end + 1])
    except json.JSONDecodeError as error:
        raise UnreadableError(f"the answer {_short(text)} is not a JSON object: {error}") from error
    return _fitted(value, kind, "the answer")


def _fitted(value: Any, kind: pa.DataType, where: str) -> Any:
    """``value`` as Arrow takes it; UnreadableError where it does not fit the schema."""
    if value is None:
        return None
    if pa.types.is_struct(kind) and isinstance(value, dict):
        return {part.name: _fitted(value.get(part.name), part.type, part.name) for part in kind}
    if pa.types.is_list(kind) and isinstance(value, list):
        return [_fitted(item, kind.value_type, where) for item in value]
    if pa.types.is_string(kind):
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    try:
        if isinstance(value, dict | list):
            raise UnreadableError(f"{where} is no {kind}: {_short(str(value))}")
        return pa.scalar(value, kind).as_py()
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UnreadableError(f"{where} is no {kind}: {_short(str(value))}") from error


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")

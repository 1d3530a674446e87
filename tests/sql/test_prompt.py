"""Values as JSON, answers as values."""

from __future__ import annotations

import datetime
import json
import math
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.sql.call import Call, read_schema
from paceline.sql.prompt import UnreadableError, answer_type, column_texts, read_answer, value_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"), ("", '""'), ("null", '"null"'), (True, "true"), (1, "1"), (1.0, "1.0"), (Decimal("1.50"), "1.50"),
        (Decimal("1E+3"), "1000"), (math.nan, '"nan"'), (-math.inf, '"-inf"'), ("é\n", '"é\\n"'),
        (datetime.datetime(2026, 1, 2, 3, 4, 5, 600), '"2026-01-02T03:04:05.000600"'), (datetime.date(2026, 1, 2), '"2026-01-02"'),
        (b"ok", '"ok"'), ([1, None], "[1, null]"), ({"a": [True]}, '{"a": [true]}'), (2**70, str(2**70)),
    ],
)  # fmt: skip
def test_values_are_type_exact(value: object, text: str) -> None:
    assert value_text(value) == text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_every_value_is_json_that_reads_back(value: object) -> None:
    assert json.loads(value_text(value)) == value


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pa.array(["a", None, ""]), ['"a"', "null", '""']),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ['"a"', '"b"', '"a"']),
        (pa.array([0.1, None], pa.float32()), ["0.1", "null"]),
        (pa.array([[1, 2], None], pa.list_(pa.int8())), ["[1, 2]", "null"]),
        (pa.array([], pa.string()), []),
        (pa.array([{"x": Decimal("1.0")}], pa.struct([("x", pa.decimal128(4, 2))])), ['{"x": 1.00}']),
    ],
)
def test_columns_become_texts(column: pa.Array, texts: list[str]) -> None:
    found, reason = column_texts(pa.chunked_array([column]))
    assert (found.to_pylist(), reason) == (texts, None)


def test_what_cannot_be_shown_is_told() -> None:
    found, reason = column_texts(pa.chunked_array([pa.array([b"ok", b"\xff", None], pa.binary())]))
    assert found.to_pylist() == ['"ok"', None, "null"]
    assert reason is not None
    assert "is not UTF-8 text" in reason


FILTER = Call("llm_filter", "?", ())
CHOICE = Call("llm_choice", "?", (), labels=("Yes please", "no"))
SCORE = Call("llm_score", "?", ())
JSON = Call("llm_json", "?", (), schema=read_schema('{"a": "string", "n": "integer", "tags": "array"}'))


@pytest.mark.parametrize(
    ("call", "text", "value"),
    [
        (FILTER, "yes", True), (FILTER, " No.", False), (FILTER, "TRUE", True), (FILTER, '"no"', False),
        (CHOICE, "yes please!", "Yes please"), (CHOICE, "no", "no"),
        (SCORE, "4", 4.0), (SCORE, "Score: -2.5 points", -2.5), (SCORE, "1e3", 1000.0),
        (JSON, 'Sure: {"a": "x", "n": 3, "tags": ["t"]}', {"a": "x", "n": 3, "tags": '["t"]'}),
        (JSON, '{"n": 3}', {"a": None, "n": 3, "tags": None}),
        (Call("llm", "?", ()), " text\n", "text"),
    ],
)  # fmt: skip
def test_answers_are_read(call: Call, text: str, value: object) -> None:
    assert read_answer(call, text) == value


@pytest.mark.parametrize(
    ("call", "text", "said"),
    [
        (FILTER, "maybe", "is none of yes, no"), (FILTER, "", "is none of"), (CHOICE, "yes", "is none of"),
        (SCORE, "many", "has no number"), (JSON, "none", "is not a JSON object"), (JSON, '{"n": "x"}', "n is no int64"),
        (JSON, '{"n": [1]}', "n is no int64"), (JSON, "[1]", "is not a JSON object"),
    ],
)  # fmt: skip
def test_answers_that_cannot_be_read_say_why(call: Call, text: str, said: str) -> None:
    with pytest.raises(UnreadableError, match=said):
        read_answer(call, text)


def test_a_schema_gives_the_type_of_the_column() -> None:
    schema = read_schema(
        '{"type": "object", "properties": {"ok": {"type": "boolean"}, "all": {"type": "array", "items": {"type": "number"}}, '
        '"in": {"type": "object", "properties": {"x": {"type": "string"}}}, "any": {}}}'
    )
    expected = pa.struct([
        ("ok", pa.bool_()), ("all", pa.list_(pa.float64())), ("in", pa.struct([("x", pa.string())])), ("any", pa.string()),
    ])  # fmt: skip
    assert answer_type(Call("llm_json", "?", (), schema=schema)) == expected

"""Values get numbers by what they are, weights once per value; equal rows are one request."""

from __future__ import annotations

import decimal

import pyarrow as pa
import pytest

from paceline.errors import ConfigError
from paceline.sql.order import encode


def test_equal_rows_are_one_request_and_null_is_not_empty() -> None:
    table = pa.table({"a": ["x", "", None, "x", ""], "b": [1, 2, 2, 1, 2]})
    encoded = encode(table, ["a", "b"])
    assert encoded.request_of.tolist() == [0, 1, 2, 0, 1]
    assert encoded.first_of.tolist() == [0, 1, 2]
    assert encoded.items.codes.tolist() == [[0, 0], [1, 1], [2, 1]]


def test_weights_are_counted_once_per_distinct_value() -> None:
    asked: list[str] = []

    def num_tokens(text: str) -> int:
        asked.append(text)
        return len(text)

    encoded = encode(pa.table({"k": ["ab", "c", "ab", None]}), ["k"], num_tokens=num_tokens)
    assert asked == ['"k": "ab", ', '"k": "c", ', '"k": null, ']
    assert encoded.items.weights[0].tolist() == [11.0, 10.0, 11.0]


def test_a_quarter_of_the_characters_without_a_tokenizer() -> None:
    encoded = encode(pa.table({"k": ["äb", None], "n": [1.5, 22.0], "i": [-123, None]}), ["k", "n", "i"])
    assert encoded.items.weights[0].tolist() == [len('"k": "äb", ') / 4, len('"k": null, ') / 4]
    assert encoded.items.weights[1].tolist() == [len('"n": 1.5, ') / 4, len('"n": 22.0, ') / 4]
    assert encoded.items.weights[2].tolist() == [len('"i": -123, ') / 4, len('"i": null, ') / 4]


def test_interchangeable_fields_share_one_numbering_and_rows_that_differ_in_order_alone_are_one() -> None:
    table = pa.table({"q": ["x", "x", "y"], "c1": ["A", "B", "B"], "c2": ["B", "A", "C"]})
    encoded = encode(table, ["q", "c1", "c2"], unordered=[("c1", "c2")])
    assert encoded.request_of.tolist() == [0, 0, 1]
    assert encoded.items.unordered == ((1, 2),)
    a, b = encoded.items.codes[0, 1:]
    assert encoded.items.codes[1, 1] == b != a
    assert encoded.items.weights[1] is encoded.items.weights[2]


@pytest.mark.parametrize(
    "values",
    [
        [[1], [1, 2], [1]],
        [{"a": 1}, {"a": 2}, {"a": 1}],
        [decimal.Decimal("1.0"), decimal.Decimal("1.5"), decimal.Decimal("1.0")],
        [True, False, True],
        [b"1", b"2", b"1"],
        pa.array(["u", "v", "u"]).dictionary_encode(),
    ],
)
def test_every_type_of_column_has_codes(values: object) -> None:
    encoded = encode(pa.table({"v": values}), ["v"])
    assert encoded.request_of.tolist() == [0, 1, 0]


def test_chunks_and_empty_tables() -> None:
    chunked = pa.chunked_array([["a", "b"], ["b", "c"]])
    assert encode(pa.table({"v": chunked}), ["v"]).items.codes.ravel().tolist() == [0, 1, 2]
    assert encode(pa.table({"v": pa.array([], pa.string())}), ["v"]).items.num_rows == 0


def test_pinned_fields_are_remembered() -> None:
    assert encode(pa.table({"a": ["x"], "q": ["?"]}), ["a", "q"], pinned=["q"]).items.pinned == (1,)


def test_users_mistakes_are_named() -> None:
    table = pa.table({"review": ["x"], "stars": [1]})
    with pytest.raises(ConfigError, match=r"no field 'reviw'.*did you mean 'review'"):
        encode(table, ["reviw"])
    with pytest.raises(ConfigError, match="one type, got review string, stars int64"):
        encode(table, ["review", "stars"], unordered=[("review", "stars")])

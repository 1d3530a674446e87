"""Numbers between JSON and bytes: exact, bounded, and in blocks that change nothing."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.errors import InvalidRequest
from paceline.multiplex.messages import Array
from paceline.server import tensors
from paceline.server.tensors import DATATYPES, from_bytes, from_json, to_json

INTEGERS = {"INT8": 8, "INT16": 16, "INT32": 32, "INT64": 64}


def read(text: str | bytes, kind: str, *shape: int) -> np.ndarray[Any, Any]:
    raw = msgspec.Raw(text.encode() if isinstance(text, str) else text)
    array = from_json(raw, DATATYPES[kind], shape, "x")
    assert (array.dtype, array.shape) == (DATATYPES[kind].dtype, shape)
    return np.frombuffer(b"".join(array.pieces), DATATYPES[kind].numpy).reshape(shape)


def write(values: np.ndarray[Any, Any], dtype: str) -> Any:
    return json.loads(b"".join(to_json(Array(dtype, values.shape, (values.tobytes(),)))))


@pytest.mark.parametrize("kind", DATATYPES)
def test_every_type_survives_json(kind: str) -> None:
    values = [0, 1, 1, 0, 1, 0] if kind != "BOOL" else [False, True, True, False, True, False]
    got = read(json.dumps(values), kind, 2, 3)
    assert write(got, DATATYPES[kind].dtype) == values


@pytest.mark.parametrize("size", [0, 1, 2, 7, 100_000])
@pytest.mark.parametrize("kind", ["FP32", "INT64", "BOOL"])
def test_blocks_change_nothing(size: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal(size).astype(np.float32) if kind == "FP32" else rng.integers(0, 2, size)
    values = values.astype(DATATYPES[kind].numpy)
    text = json.dumps(values.tolist())
    for block in (32, 333, 128 * 1024):
        monkeypatch.setattr(tensors, "_BLOCK_BYTES", block)
        assert np.array_equal(read(text, kind, size), values)
    monkeypatch.setattr(tensors, "_BLOCK_ITEMS", 13)
    assert write(values, DATATYPES[kind].dtype) == values.tolist()


@given(
    st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3), max_size=20)
)
def test_nested_arrays_are_read_row_by_row(rows: list[list[float]]) -> None:
    flat = [value for row in rows for value in row]
    expected = np.array(flat, np.float32).reshape(-1, 3)
    for text in (json.dumps(rows), json.dumps(flat), json.dumps([rows]), json.dumps(rows, indent=3)):
        assert np.array_equal(read(text, "FP32", len(rows), 3), expected)


@pytest.mark.parametrize(("kind", "bits"), INTEGERS.items())
def test_integers_keep_their_range(kind: str, bits: int) -> None:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    assert read(f"[{low}, {high}]", kind, 2).tolist() == [low, high]
    for value in (low - 1, high + 1, 10**40):
        with pytest.raises(InvalidRequest):
            read(f"[{value}]", kind, 1)


def test_bfloat16_is_rounded_to_the_nearest() -> None:
    values = [1.0, -2.5, 3.140625, 1.00390625, 1.01171875, 1e-40, 0.0]  # the fourth and fifth are ties
    got = write(read(json.dumps(values), "BF16", 7), "bfloat16")
    assert got[:5] == [1.0, -2.5, 3.140625, 1.0, 1.015625]
    assert got[6] == 0.0


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("FP32", "[1e39]"), ("FP16", "[70000]"), ("BF16", "[3.4e38]"), ("FP64", "[1e400]"), ("UINT8", "[-1]"),
        ("UINT8", "[256]"), ("INT8", "[1.5]"), ("INT8", "[true]"), ("BOOL", "[1]"), ("BOOL", '["true"]'), ("FP32", "[null]"),
        ("FP32", '["1"]'), ("FP32", "[true]"), ("FP32", "[{}]"), ("FP32", '[{"a": 1}]'), ("FP32", "[NaN]"), ("FP32", "[1 2]"),
        ("FP32", "[[1], []]"), ("FP32", "[,]"), ("FP32", "1"), ("FP32", '"1"'), ("FP32", "{}"), ("FP32", "null"), ("FP32", ""),
    ],
)  # fmt: skip
def test_what_is_no_number_of_the_type_is_refused(kind: str, text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(text, kind, 1)
    assert refused.value.param == "inputs"
    assert "'x'" in str(refused.value)


@pytest.mark.parametrize("shape", [(0,), (1,), (3,), (2, 2), (10**12,)])
def test_the_count_must_be_that_of_the_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidRequest, match="elements, data holds"):
        read("[1, 2]", "FP32", *shape)
    data = memoryview(bytes(8))
    with pytest.raises(InvalidRequest, match="binary_data_size is 8"):
        from_bytes(data, DATATYPES["FP32"], shape, "x") if shape != (2,) else None


def test_a_number_without_end_is_not_split_in_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "_BLOCK_BYTES", 16)
    with pytest.raises(InvalidRequest, match="without end"):
        read("[1." + "1" * 40 + "]", "FP32", 2)


def test_bytes_are_taken_as_they_are() -> None:
    data = memoryview(np.arange(6, dtype="<f4").tobytes())
    array = from_bytes(data, DATATYPES["FP32"], (2, 3), "x")
    assert array.pieces == (data,)
    assert from_bytes(memoryview(b"\x00\x01"), DATATYPES["BOOL"], (2,), "x").num_bytes == 2
    with pytest.raises(InvalidRequest, match="byte 0 or 1"):
        from_bytes(memoryview(b"\x00\x02"), DATATYPES["BOOL"], (2,), "x")


def test_what_json_cannot_say_is_null() -> None:
    values = np.array([1.5, math.nan, math.inf, -math.inf], np.float32)
    assert write(values, "float32") == [1.5, None, None, None]
    assert write(np.array([0x3F80, 0x7FC0], np.uint16), "bfloat16") == [1.0, None]

"""Numbers on their way: from JSON or plain bytes to the bytes that engines take, and back.

Long arrays are handled in blocks, because neither decoding nor numpy gives way to other threads within one call.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import msgspec
import numpy as np
from numpy.typing import NDArray

from paceline.errors import InvalidRequest
from paceline.multiplex.messages import ITEM_BYTES, Array

_BLOCK_BYTES = 128 * 1024  # of JSON, about a millisecond
_BLOCK_ITEMS = 16 * 1024

Values = NDArray[Any]


@final
@dataclass(frozen=True, slots=True)
class Datatype:
    """One of the protocol's types of numbers, by its ``name`` there."""

    name: str
    dtype: str  # the engine's word
    json: type[float] | type[int] | type[bool]  # what an element is in JSON

    @property
    def item_bytes(self) -> int:
        return ITEM_BYTES[self.dtype]

    @property
    def numpy(self) -> np.dtype[Any]:
        """Lowest byte first. numpy has no bfloat16: its bits are kept as integers."""
        return np.dtype("uint16" if self.dtype == "bfloat16" else self.dtype).newbyteorder("<")


DATATYPES: Mapping[str, Datatype] = {
    kind.name: kind
    for kind in (
        *(Datatype(name, dtype, float) for name, dtype in (
            ("FP16", "float16"), ("BF16", "bfloat16"), ("FP32", "float32"), ("FP64", "float64"),
        )),
        *(Datatype(name, name.lower(), int) for name in ("INT8", "INT16", "INT32", "INT64", "UINT8")),
        Datatype("BOOL", "bool", bool),
    )
}  # fmt: skip
_BY_DTYPE = {kind.dtype: kind for kind in DATATYPES.values()}

_DECODERS: Mapping[type, msgspec.json.Decoder[list[Any]]] = {
    float: msgspec.json.Decoder(list[float]),
    int: msgspec.json.Decoder(list[int]),
    bool: msgspec.json.Decoder(list[bool]),
}
_NUMBERS = {float: "numbers", int: "whole numbers", bool: "true and false"}


def datatype_of(dtype: str) -> Datatype:
    """The protocol's type for the engine's word."""
    return _BY_DTYPE[dtype]


# -- from the client ----------------------------------------------------------------------------------


def from_json(raw: msgspec.Raw, kind: Datatype, shape: tuple[int, ...], name: str) -> Array:
    """The numbers of a JSON array, flat or nested, row by row. InvalidRequest: no numbers, another count, out of range.

    >>> from_json(msgspec.Raw(b"[[1, 2], [3, 4]]"), DATATYPES["INT8"], (2, 2), "x").pieces
    (b'\\x01\\x02\\x03\\x04',)
    """
    view = memoryview(raw)
    if bytes(view[:1]) != b"[":
        raise wrong(name, "needs data, an array, or binary_data_size")
    pieces: list[bytes] = []
    num_wanted, num_values = math.prod(shape), 0
    for block in _blocks(view[1:-1], name):
        try:
            values = _DECODERS[kind.json].decode(b"[%b]" % block)
        except (msgspec.DecodeError, ValueError):
            raise wrong(name, f"data must hold {_NUMBERS[kind.json]} for {kind.name}") from None
        num_values += len(values)
        if num_values > num_wanted:
            break
        pieces.append(_pack(values, kind, name))
    if num_values != num_wanted:
        count = f"{num_values:,}" if num_values < num_wanted else "more"
        raise wrong(name, f"shape {list(shape)} means {num_wanted:,} elements, data holds {count}")
    return Array(kind.dtype, shape, tuple(pieces))


def _blocks(text: memoryview, name: str) -> Iterator[bytes]:
    """The elements of a JSON array, some at a time, without the brackets of nested arrays."""
    start = 0
    while start < len(text):
        block = bytes(text[start : start + _BLOCK_BYTES])
        start += len(block)
        if start < len(text):
            cut = block.rfind(b",")
            if cut < 0:
                raise wrong(name, "data holds an element without end")
            start -= len(block) - cut - 1
            block = block[:cut]
        yield block.translate(None, b"[]")


def _pack(values: list[Any], kind: Datatype, name: str) -> bytes:
    if kind.json is not float:
        try:
            return np.array(values, kind.numpy).tobytes()
        except OverflowError:
            raise wrong(name, f"data holds a number that {kind.name} cannot") from None
    with np.errstate(over="ignore"):
        numbers = np.array(values, np.float64).astype("<f4" if kind.dtype == "bfloat16" else kind.numpy)
        rounded = _as_bfloat16(numbers) if kind.dtype == "bfloat16" else numbers
    if not np.isfinite(_readable(rounded, kind)).all():
        raise wrong(name, f"data holds a number that {kind.name} cannot")
    return rounded.tobytes()


def _as_bfloat16(values: Values) -> Values:
    """The upper halves of float32, rounded to the nearest, ties to even."""
    bits = values.view("<u4").astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def _readable(values: Values, kind: Datatype) -> Values:
    """As numbers that numpy knows."""
    return (values.astype("<u4") << 16).view("<f4") if kind.dtype == "bfloat16" else values


def from_bytes(data: memoryview, kind: Datatype, shape: tuple[int, ...], name: str) -> Array:
    """The numbers of plain bytes. InvalidRequest: another count, a truth value that is neither 0 nor 1."""
    num_wanted = math.prod(shape) * kind.item_bytes
    if len(data) != num_wanted:
        message = f"{kind.name} of shape {list(shape)} takes {num_wanted:,} bytes, binary_data_size is {len(data):,}"
        raise wrong(name, message)
    if kind.json is bool and len(data) and np.frombuffer(data, np.uint8).max() > 1:
        raise wrong(name, "a BOOL is a byte 0 or 1")
    return Array(kind.dtype, shape, (data,))


def wrong(name: str, message: str) -> InvalidRequest:
    """What is wrong with an input."""
    return InvalidRequest(f"input {name!r}: {message}", param="inputs", code="invalid_tensor")


# -- to the client ------------------------------------------------------------------------------------


def to_json(array: Array) -> Iterator[bytes]:
    """A flat JSON array in parts; what is not a number there (NaN, infinity) is null.

    >>> b"".join(to_json(Array("float32", (2,), (b"\\x00\\x00\\x80?", b"\\x00\\x00\\xc0\\x7f"))))
    b'[1.0,null]'
    """
    kind = datatype_of(array.dtype)
    opening = b"["
    for piece in array.pieces:
        values = _readable(np.frombuffer(piece, kind.numpy), kind)
        for start in range(0, len(values), _BLOCK_ITEMS):
            yield opening + msgspec.json.encode(values[start : start + _BLOCK_ITEMS].tolist())[1:-1]
            opening = b","
    yield b"]" if opening == b"," else b"[]"

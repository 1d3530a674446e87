"""Frames of the process of models: tensors of any size come out as they went in, errors stay what they were."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.errors import (
    DeadlineExceeded,
    DeadlineInfeasible,
    ExecutionError,
    InvalidRequest,
    ModelError,
    NotReady,
    PacelineError,
    Quarantined,
    QueueFull,
    ResourceError,
)
from paceline.multiplex.messages import (
    INLINE_BYTES,
    ITEM_BYTES,
    PIECE_BYTES,
    Answer,
    Answers,
    Array,
    FromEngine,
    Infer,
    Piece,
    Pieces,
    Tensor,
    ToEngine,
    error_of,
    pack,
    refusal,
)
from paceline.process.frames import MAX_FRAME_BYTES, Codec, encode

TO_ENGINE: Codec[ToEngine] = Codec(ToEngine)
FROM_ENGINE: Codec[FromEngine] = Codec(FromEngine)


def array(num_bytes: int, fill: int = 1) -> Array:
    return Array("uint8", (num_bytes,), (bytes([fill]) * num_bytes,))


def whole(item: Array) -> bytes:
    return b"".join(item.pieces)


def travel(arrays: list[Array]) -> list[Array]:
    """There and back through encoded frames, a foreign request's pieces in between."""
    ahead, inputs = pack(7, arrays)
    received = Pieces()
    for piece in ahead:
        message = TO_ENGINE.decode(encode(piece))
        assert isinstance(message, Piece)
        received.add(message)
        received.add(Piece(8, message.place, b"not ours"))
    request = TO_ENGINE.decode(encode(Infer(id=7, model="m", inputs=inputs)))
    assert isinstance(request, Infer)
    return received.unpack(request.id, request.inputs)


SIZES = [0, 1, INLINE_BYTES, INLINE_BYTES + 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 17]


@pytest.mark.parametrize("size", SIZES)
def test_tensors_of_any_size_come_out_as_they_went_in(size: int) -> None:
    sent = [array(3, 1), array(size, 2), array(5, 3)]
    assert [(item.dtype, item.shape, whole(item)) for item in travel(sent)] == [
        (item.dtype, item.shape, whole(item)) for item in sent
    ]


@given(st.lists(st.integers(0, 3 * INLINE_BYTES), max_size=6), st.integers(1, 5))
def test_bytes_that_are_cut_anywhere_are_the_same_bytes(sizes: list[int], cut: int) -> None:
    sent = []
    for fill, size in enumerate(sizes):
        data = bytes([fill]) * size
        sent.append(Array("uint8", (size,), (data[: size // cut], memoryview(data)[size // cut :])))
    assert [whole(item) for item in travel(sent)] == [whole(item) for item in sent]


def test_every_frame_is_far_from_the_limit() -> None:
    ahead, inputs = pack(1, [array(INLINE_BYTES // 8 + 1)] * 20 + [array(5 * PIECE_BYTES)])
    frames = [*ahead, Infer(id=1, model="m", inputs=inputs)]
    assert max(len(encode(frame)) for frame in frames) < MAX_FRAME_BYTES // 8
    most = Answers([Answer(number, pack(number, [array(INLINE_BYTES)])[1]) for number in range(128)])
    assert len(encode(most)) < MAX_FRAME_BYTES


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("float32", (2, 3), bytes(23)),
        Tensor("float32", (2, 3), bytes(25)),
        Tensor("float32", (-2, -3), bytes(24)),
        Tensor("complex64", (3,), bytes(24)),
        Tensor("uint8", (10**18, 10**18), b""),
    ],
)
def test_shapes_and_bytes_must_agree(tensor: Tensor) -> None:
    with pytest.raises(ExecutionError, match=f"{len(tensor.data)} bytes came for"):
        Pieces().unpack(1, [tensor])


def test_missing_pieces_are_noticed_and_dropped_ones_forgotten() -> None:
    pieces = Pieces()
    pieces.add(Piece(1, 0, bytes(PIECE_BYTES)))
    pieces.drop(1)
    pieces.drop(1)
    with pytest.raises(ExecutionError, match="0 bytes came"):
        pieces.unpack(1, [Tensor("uint8", (PIECE_BYTES,), b"")])


@pytest.mark.parametrize("dtype", ITEM_BYTES)
def test_every_type_has_a_size(dtype: str) -> None:
    shape = (3, 5)
    data = bytes(math.prod(shape) * ITEM_BYTES[dtype])
    [item] = travel([Array(dtype, shape, (data,))])
    assert (item.dtype, item.shape, item.num_bytes) == (dtype, shape, len(data))


ERRORS: list[PacelineError] = [
    InvalidRequest("wrong", param="x", code="wrong_shape"),
    QueueFull("full", retry_after_s=2.5),
    Quarantined("again and again", retry_after_s=30.0),
    NotReady("loading", retry_after_s=4.0),
    DeadlineInfeasible("too late already"),
    DeadlineExceeded("too late now"),
    ModelError("no weights"),
    ExecutionError("the launch failed"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_stay_what_they_were(error: PacelineError) -> None:
    message = FROM_ENGINE.decode(encode(refusal(3, error)))
    told = error_of(message)  # type: ignore[arg-type]
    assert type(told) is type(error)
    assert str(told) == str(error)
    assert vars(told) == vars(error)


def test_any_other_error_is_an_execution_error() -> None:
    told = error_of(refusal(3, ResourceError("no memory")))
    assert type(told) is ExecutionError
    assert str(told) == "no memory"

"""What the process of models and its client say to each other, and what they say about models.

Tensors travel as their plain bytes, row by row, lowest byte first. What is too large for one frame goes ahead
of it in pieces, so that small requests are not held up behind large ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import msgspec

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
)

PIECE_BYTES = 1 << 20  # is sent and read within a millisecond; a frame may hold 16 of them
INLINE_BYTES = 1 << 16  # tensors of one request up to this stay in its frame
ITEM_BYTES = {
    "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8,
    "bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8,
}  # fmt: skip

Data = bytes | bytearray | memoryview


class TensorInfo(msgspec.Struct, frozen=True):
    """An input or output of a model: its name, its type of numbers, its shape with -1 for what follows the rows."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class TenantInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may know about a registered model."""

    name: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    family: str  # models of one family differ in their weights alone
    coalescible: bool  # may run in one launch with others
    reasons: tuple[str, ...] = ()  # why not


class TenantStats(msgspec.Struct, frozen=True, kw_only=True):
    """Of one model, since the process started."""

    num_done: int = 0
    num_late: int = 0  # done after their deadline, or dropped because of it
    num_failed: int = 0
    num_coalesced: int = 0  # done in launches with others
    device_time_s: float = 0.0


class RuntimeStats(msgspec.Struct, frozen=True, kw_only=True):
    """Counters since the process started, and gauges of now."""

    num_waiting: int = 0  # requests
    num_launches: int = 0
    num_rows: int = 0
    num_padded_rows: int = 0  # computed for nobody
    launch_time_s: float = 0.0  # sum over launches
    members_per_launch: tuple[int, ...] = ()  # launches with 1, 2, … requests
    prediction_error: float = 0.0  # moving mean of |predicted - actual| / actual
    weights_bytes: int = 0
    tenants: dict[str, TenantStats] = {}


@final
@dataclass(frozen=True, slots=True)
class Array:
    """A tensor outside of frames; its bytes one piece after the other."""

    dtype: str
    shape: tuple[int, ...]
    pieces: tuple[Data, ...]

    @property
    def num_bytes(self) -> int:
        return sum(map(len, self.pieces))


class Tensor(msgspec.Struct, frozen=True):
    """A tensor in a frame. Without data if that went ahead in pieces."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


# -- to the engine ------------------------------------------------------------------------------------


class Load(msgspec.Struct, frozen=True, tag="load"):
    """Register the model of a folder. Answered by ``Loaded`` or ``NotLoaded``, in this order."""

    name: str
    folder: str


class Serve(msgspec.Struct, frozen=True, tag="serve"):
    """Every model known so far was named: be ready."""


class Piece(msgspec.Struct, frozen=True, tag="piece"):
    """The next bytes of tensor ``place`` of a request or its answer."""

    id: int
    place: int
    data: bytes


class Infer(msgspec.Struct, frozen=True, tag="infer", kw_only=True):
    """One request; its pieces have gone ahead."""

    id: int
    model: str
    inputs: tuple[Tensor, ...]
    deadline_s: float | None = None  # from now
    priority: int = 0


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    id: int


class AskStats(msgspec.Struct, frozen=True, tag="ask_stats"):
    pass


# -- from the engine ----------------------------------------------------------------------------------


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    info: TenantInfo


class NotLoaded(msgspec.Struct, frozen=True, tag="not_loaded"):
    name: str
    message: str


class Answer(msgspec.Struct, frozen=True):
    """The outputs of one request; their pieces have gone ahead."""

    id: int
    outputs: tuple[Tensor, ...]


class Answers(msgspec.Struct, frozen=True, tag="answers"):
    """Whatever was done when there was time to send it."""

    answers: list[Answer]


class Refused(msgspec.Struct, frozen=True, tag="refused", kw_only=True):
    """A request without an answer. ``error`` is the name of a class of ``paceline.errors``."""

    id: int
    error: str
    message: str
    param: str | None = None
    code: str = "invalid_value"
    retry_after_s: float = 1.0


class Stats(msgspec.Struct, frozen=True, tag="stats"):
    stats: RuntimeStats


ToEngine = Load | Serve | Piece | Infer | Cancel | AskStats
FromEngine = Loaded | NotLoaded | Piece | Answers | Refused | Stats


# -- tensors in frames --------------------------------------------------------------------------------


def pack(number: int, arrays: Sequence[Array]) -> tuple[Iterator[Piece], tuple[Tensor, ...]]:
    """The pieces that must be sent ahead, made one by one as they are taken, and the tensors of the frame itself."""
    room = INLINE_BYTES
    ahead: list[tuple[int, Array]] = []
    tensors: list[Tensor] = []
    for place, array in enumerate(arrays):
        fits = array.num_bytes <= room
        room -= array.num_bytes if fits else 0
        tensors.append(Tensor(array.dtype, array.shape, b"".join(array.pieces) if fits else b""))
        if not fits:
            ahead.append((place, array))
    return _pieces(number, ahead), tuple(tensors)


def _pieces(number: int, arrays: Sequence[tuple[int, Array]]) -> Iterator[Piece]:
    for place, array in arrays:
        for data in array.pieces:
            view = memoryview(data)
            for start in range(0, len(view), PIECE_BYTES):
                yield Piece(number, place, bytes(view[start : start + PIECE_BYTES]))


@final
class Pieces:
    """Pieces that came ahead of their frames."""

    def __init__(self) -> None:
        self._held: dict[int, dict[int, list[bytes]]] = {}

    def add(self, piece: Piece) -> None:
        self._held.setdefault(piece.id, {}).setdefault(piece.place, []).append(piece.data)

    def drop(self, number: int) -> None:
        """Forgets what came for a request that ended."""
        self._held.pop(number, None)

    def unpack(self, number: int, tensors: Sequence[Tensor]) -> list[Array]:
        """The tensors of a frame, whole. ExecutionError if their bytes are not as many as they must be."""
        held = self._held.pop(number, {})
        arrays = [
            Array(tensor.dtype, tensor.shape, tuple(held.get(place, (tensor.data,))))
            for place, tensor in enumerate(tensors)
        ]
        for array in arrays:
            known = array.dtype in ITEM_BYTES and min(array.shape, default=0) >= 0
            if not known or array.num_bytes != math.prod(array.shape) * ITEM_BYTES[array.dtype]:
                raise ExecutionError(f"{array.num_bytes} bytes came for {array.dtype} of shape {array.shape}")
        return arrays


# -- errors in frames ---------------------------------------------------------------------------------

_PLAIN: dict[str, type[PacelineError]] = {
    kind.__name__: kind for kind in (DeadlineInfeasible, DeadlineExceeded, ModelError, ExecutionError)
}


def refusal(number: int, error: PacelineError) -> Refused:
    """``error`` as the answer to a request."""
    name = type(error).__name__
    match error:
        case InvalidRequest():
            return Refused(id=number, error=name, message=str(error), param=error.param, code=error.code)
        case QueueFull() | Quarantined() | NotReady():
            return Refused(id=number, error=name, message=str(error), retry_after_s=error.retry_after_s)
    return Refused(id=number, error=name, message=str(error))


def error_of(refused: Refused) -> PacelineError:
    """The error that a frame tells of; one that requests do not end with otherwise is an ExecutionError."""
    match refused.error:
        case "InvalidRequest":
            return InvalidRequest(refused.message, param=refused.param, code=refused.code)
        case "QueueFull":
            return QueueFull(refused.message, retry_after_s=refused.retry_after_s)
        case "Quarantined":
            return Quarantined(refused.message, retry_after_s=refused.retry_after_s)
        case "NotReady":
            return NotReady(refused.message, retry_after_s=refused.retry_after_s)
    return _PLAIN.get(refused.error, ExecutionError)(refused.message)

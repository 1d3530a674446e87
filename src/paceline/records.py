"""What happened, as typed events, one JSON object a line.

``at`` is in microseconds of the driver's clock, ``id`` names the request, op, frame or row. Parts,
simulators and benchmarks write the same events, so the same ``metrics`` read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, TypeAlias, final

import msgspec

from paceline.errors import ConfigError

Outcome = Literal["done", "failed", "aborted", "late"]


class Arrived(msgspec.Struct, frozen=True, tag="arrived", omit_defaults=True):
    """Work came in; ``deadline`` is on the same clock as ``at``."""

    at: int
    id: str
    deadline: int | None = None


class Rejected(msgspec.Struct, frozen=True, tag="rejected"):
    """Work was turned away."""

    at: int
    id: str
    reason: str


class Started(msgspec.Struct, frozen=True, tag="started"):
    """Work was first given to the device."""

    at: int
    id: str


class Progressed(msgspec.Struct, frozen=True, tag="progressed"):
    """Work handed over ``num_units`` results: tokens, rows, boxes."""

    at: int
    id: str
    num_units: int


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """Work is over."""

    at: int
    id: str
    outcome: Outcome = "done"


class Chose(msgspec.Struct, frozen=True, tag="chose", omit_defaults=True):
    """A policy took ``option`` for ``reason``; what it predicted, and what it took in the end."""

    at: int
    policy: str
    option: str
    reason: str
    predicted_s: float
    actual_s: float | None = None


Record: TypeAlias = Arrived | Rejected | Started | Progressed | Finished | Chose


@final
class RecordWriter:
    """Appends records to a file; a context manager. What was written survives a crash of the process."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("ab", buffering=0)
        self._encoder = msgspec.json.Encoder()

    def write(self, records: Iterable[Record]) -> None:
        """Adds records in one go."""
        self._file.write(self._encoder.encode_lines(list(records)))

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_records(path: Path) -> Iterator[Record]:
    """The records of a file, in order.

    A last line that was cut off by a crash is left out; any other line that is no record is a
    ConfigError that names it.
    """
    decoder = msgspec.json.Decoder(Record)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield decoder.decode(line)
            except (msgspec.MsgspecError, ValueError) as error:
                raise ConfigError(f"{path} line {number} is no record: {error}") from error

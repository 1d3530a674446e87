"""Arrivals kept in a file, one JSON object a line, so that a run can be had again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from paceline.errors import ConfigError
from paceline.sim.arrivals import Arrival

T = TypeVar("T")


class _Line(msgspec.Struct, Generic[T], frozen=True):
    at: int
    item: T


def save_arrivals(path: Path, arrivals: Iterable[Arrival[T]]) -> None:
    """Writes arrivals whose items are msgspec structs, dataclasses or plain JSON values."""
    path.write_bytes(msgspec.json.Encoder().encode_lines([_Line(at, item) for at, item in arrivals]))


def load_arrivals(path: Path, item_type: type[T]) -> list[Arrival[T]]:
    """What ``save_arrivals`` wrote, items of ``item_type``; ConfigError names a line that is none."""
    decoder: msgspec.json.Decoder[_Line[T]] = msgspec.json.Decoder(_Line[item_type])  # type: ignore[valid-type]
    arrivals = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            entry = decoder.decode(line)
        except (msgspec.MsgspecError, ValueError) as error:
            raise ConfigError(f"{path} line {number} is no arrival: {error}") from error
        arrivals.append(Arrival(entry.at, entry.item))
    return arrivals

"""Results in a file of JSON lines: what is there need not be computed again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Generic, TypeVar, final

import msgspec

from paceline.errors import ConfigError, ModelError, ResourceError
from paceline.process.atomic import write_atomic

T = TypeVar("T", bound=msgspec.Struct)


@final
class Journal(Generic[T]):
    """The first line says what the results are of; each further line is one. A last line that was cut short is dropped.

    ConfigError, naming what differs, if the file is of something else.
    """

    def __init__(self, path: Path, identity: Mapping[str, object], kind: type[T]) -> None:
        self._path = path
        self._kind = kind
        header = msgspec.json.encode(identity) + b"\n"
        if not path.exists():
            write_atomic(path, header)
            return
        whole, newline, _ = path.read_bytes().rpartition(b"\n")
        _check(path, whole.partition(b"\n")[0], msgspec.json.decode(header))
        os.truncate(path, len(whole) + len(newline))

    def read(self) -> list[T]:
        """All results. ModelError, naming the line, for one that is none."""
        found = []
        for number, line in enumerate(self._path.read_bytes().splitlines()[1:], 2):
            try:
                found.append(msgspec.json.decode(line, type=self._kind))
            except msgspec.MsgspecError as error:
                raise ModelError(f"{self._path}: line {number} is no result ({error}); delete the line") from None
        return found

    def add(self, result: T) -> None:
        """Keeps one more, also over a power cut. ResourceError if there is no room."""
        try:
            with self._path.open("ab") as file:
                file.write(msgspec.json.encode(result) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ResourceError(f"cannot write {self._path}: {error.strerror or error}") from error


def _check(path: Path, line: bytes, identity: Mapping[str, object]) -> None:
    try:
        held = msgspec.json.decode(line, type=dict[str, object])
    except msgspec.MsgspecError:
        raise ModelError(f"{path}: not a journal of results; name another file") from None
    odd = [key for key in sorted(held.keys() | identity.keys()) if held.get(key) != identity.get(key)]
    if odd:
        said = "; ".join(f"{key} is {identity.get(key)!r}, was {held.get(key)!r}" for key in odd)
        raise ConfigError(f"{path} holds results of something else: {said}. Name another file, or delete it")

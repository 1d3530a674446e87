"""Tracks as MOTChallenge's text, which the field's tools read: ``frame,id,left,top,width,height,score,-1,-1,-1``, frames from 1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TextIO, final

import numpy as np

from paceline.errors import ResourceError
from paceline.process.atomic import write_atomic
from paceline.streaming.frame import Tracks


def lines_of(frame_index: int, tracks: Tracks) -> Iterator[str]:
    """One line per track.

    >>> tracks = Tracks(np.array([[1.0, 2.0, 4.0, 8.0]]), np.array([7]), np.array([0.5]), *[np.zeros(1, int)] * 2, np.zeros(1))
    >>> list(lines_of(0, tracks))
    ['1,7,1,2,3,6,0.5,-1,-1,-1']
    """
    assert np.isfinite(tracks.boxes).all()
    for (left, top, right, bottom), track, score in zip(tracks.boxes, tracks.ids, tracks.scores, strict=True):
        numbers = ",".join(f"{round(float(value), 3):.10g}" for value in (left, top, right - left, bottom - top, score))
        yield f"{frame_index + 1},{track},{numbers},-1,-1,-1"


def write(path: Path, shown: Iterable[Tracks | None]) -> None:
    """What was on the screen at each frame of a log."""
    lines = [line for index, tracks in enumerate(shown) if tracks is not None for line in lines_of(index, tracks)]
    write_atomic(path, "".join(f"{line}\n" for line in lines).encode())


@final
class MotChallengeText:
    """The same, frame by frame while they come; each is on disk once it was written."""

    def __init__(self, path: Path) -> None:
        try:
            self._file: TextIO = path.open("w")
        except OSError as error:
            raise ResourceError(f"{path} cannot be written: {error.strerror}; give another path") from None

    def write(self, frame_index: int, tracks: Tracks) -> None:
        self._file.writelines(f"{line}\n" for line in lines_of(frame_index, tracks))
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> MotChallengeText:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

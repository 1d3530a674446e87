"""The rendered drive as a source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

from paceline.streaming.frame import Frame
from paceline.streaming.render.drive import Drive
from paceline.streaming.sources.source import Recording


@final
class Rendered(Recording):
    """The pictures of a drive, painted when asked for."""

    def __init__(self, drive: Drive) -> None:
        super().__init__(drive.size)
        self._drive = drive

    def _read(self) -> Iterator[Frame]:
        return self._drive.frames()

    def _release(self) -> None:
        """Nothing is held."""

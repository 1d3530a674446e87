"""Cameras through PyAV: network streams (RTSP and what else FFmpeg knows) and Video4Linux webcams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, final

from paceline.streaming.frame import Pixels, Size
from paceline.streaming.sources.camera import Opener
from paceline.streaming.sources.video import require_av, to_pixels

TIMEOUTS_S: Final = (5.0, 2.0)  # to open, to read; a hanging call returns after it
RTSP: Final = {"rtsp_transport": "tcp", "fflags": "nobuffer", "flags": "low_delay"}  # UDP loses packets silently


def network(url: str) -> Opener:
    """Opens a stream at ``url``."""
    require_av()
    options = RTSP if url.startswith(("rtsp://", "rtsps://")) else {}
    return lambda size: AvFeed(url, size, options=options)


def webcam(number: int, rate_hz: float | None = None) -> Opener:
    """Opens ``/dev/videoN``."""
    require_av()
    options = {"framerate": f"{rate_hz:g}"} if rate_hz else {}
    return lambda size: AvFeed(f"/dev/video{number}", size, options=options, form="v4l2")


@final
class AvFeed:
    """An open stream; a packet that does not decode is a lost picture."""

    def __init__(self, url: str, size: Size | None, *, options: dict[str, str], form: str | None = None) -> None:
        self._av = require_av()
        self._container: Any = self._av.open(url, format=form, options=dict(options), timeout=TIMEOUTS_S)
        if not self._container.streams.video:
            self._container.close()
            raise ValueError("the stream holds no picture")
        self._size = size

    def __iter__(self) -> Iterator[Pixels | None]:
        for packet in self._container.demux(self._container.streams.video[0]):
            try:
                pictures = packet.decode()
            except self._av.InvalidDataError:
                yield None
                continue
            for picture in pictures:
                self._size = self._size or (picture.width, picture.height)
                yield None if picture.is_corrupt else to_pixels(picture, self._size)

    def close(self) -> None:
        self._container.close()

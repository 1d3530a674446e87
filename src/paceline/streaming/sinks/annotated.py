"""Annotated video: what was on the screen, as a file that anybody can play.

Encoders are named one by one. FFmpeg's default for MP4 would be x264, whose licence is the GPL; VP9's (libvpx) is BSD, and the one for
MPEG-4 part 2 is FFmpeg's own, under the LGPL.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, cast, final

from paceline.errors import ConfigError, ResourceError
from paceline.streaming.frame import Frame, Size, Tracks
from paceline.streaming.sinks.draw import draw
from paceline.streaming.sources.video import require_av

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

TICK: Final = Fraction(1, 1000)  # of a second; MPEG-4 part 2 knows none finer than 1/65535
VP9: Final = ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "crf": "32", "b": "0"})
MPEG4: Final = ("mpeg4", {"qscale": "4", "flags": "+qscale"})
ENCODERS: Final = {".webm": VP9, ".mkv": VP9, ".mp4": MPEG4, ".avi": MPEG4}


@final
class AnnotatedVideo:
    """Writes pictures with their boxes, each at the time of its capture. ``.webm`` plays in browsers."""

    def __init__(self, path: Path, size: Size, *, rate_hz: float = 10.0) -> None:
        if path.suffix not in ENCODERS:
            raise ConfigError(f"{path}: unknown kind of video; known: {', '.join(ENCODERS)}")
        self._av = require_av()
        self._path, self._size = path, size
        self._last_tick = -1
        self.num_left_out = 0
        codec, options = ENCODERS[path.suffix]
        try:
            path.touch()  # FFmpeg opens it with the first picture
        except OSError as error:
            raise ResourceError(f"{path} cannot be written: {error.strerror}; give another path") from None
        self._container: OutputContainer = self._av.open(str(path), "w")
        rate = Fraction(rate_hz).limit_denominator(1001)
        self._stream = cast("VideoStream", self._container.add_stream(codec, rate=rate, options=dict(options)))
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = TICK

    def write(self, frame: Frame, tracks: Tracks, *, configuration: str = "", age_us: int | None = None) -> None:
        """One picture. A second one within the same millisecond is left out and counted."""
        assert frame.pixels is not None
        assert frame.size == self._size, (frame.size, self._size)
        tick = round(frame.capture_us * TICK.denominator / 1_000_000)
        if tick <= self._last_tick:
            self.num_left_out += 1
            return
        self._last_tick = tick
        pixels = draw(frame.pixels, tracks, configuration=configuration, age_us=age_us)
        picture = self._av.VideoFrame.from_ndarray(pixels, format="rgb24")
        picture.pts, picture.time_base = tick, TICK
        self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        """Ends the file, which may not play before."""
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def __enter__(self) -> AnnotatedVideo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

"""Video files, read by PyAV: damage is stepped over, lost frames are counted, time always rises."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import numpy as np

from paceline.clock import MICROSECONDS
from paceline.errors import ConfigError
from paceline.streaming.frame import Frame, Pixels, Size
from paceline.streaming.sources.source import Recording, reason_of
from paceline.streaming.sources.timeline import Timeline

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

NOMINAL_HZ: Final = 25.0  # where a file tells no rate
FASTEST_HZ: Final = 1000.0  # a file that tells more tells its clock's tick
MAX_FAILURES: Final = 64  # reads in a row, after which a file is given up

Picture: TypeAlias = "VideoFrame"


def require_av() -> ModuleType:
    """PyAV, or an error that says how to get it."""
    try:
        import av
    except ImportError:
        raise ConfigError('video needs PyAV; run `pip install "paceline[video]"`') from None
    return av


@final
class Video(Recording):
    """The pictures of a video file. ``rate_hz`` overrides the file's own times. Lost frames keep their numbers."""

    def __init__(self, path: str, *, rate_hz: float | None = None) -> None:
        self._av = require_av()
        self._path = path
        self._container = self._open(path)
        self._stream: VideoStream = self._container.streams.video[0]
        super().__init__((self._stream.width, self._stream.height))
        self._rate_hz = rate_hz or _rate(self._stream)
        self._line = Timeline(round(MICROSECONDS / self._rate_hz), believed=rate_hz is None)
        self._num_seen = 0
        self._damaged_us = 0
        self._moments_us: list[int] = []  # by the file's clock

    def _open(self, path: str) -> InputContainer:
        try:
            container: InputContainer = self._av.open(path, metadata_errors="replace")
        except self._av.FFmpegError as error:
            raise ConfigError(f"{path} cannot be read as video: {reason_of(error)}; give a file that plays") from None
        # A stream of unknown kind has no width at all.
        if not container.streams.video or not getattr(container.streams.video[0], "width", 0):
            container.close()
            raise ConfigError(f"{path} holds no picture; give a video file")
        return container

    def _read(self) -> Iterator[Frame]:
        for picture in self._pictures():
            capture_us = self._time(picture)
            if capture_us is not None:
                yield Frame(self._num_seen - 1, capture_us, self.size, self._pixels(picture))
        self._count_missing()

    def _pictures(self) -> Iterator[Picture]:
        """Whatever decodes. A packet that does not is a lost frame."""
        for packet in self._packets():
            try:
                pictures = packet.decode()
            except self._av.FFmpegError as error:
                self._num_seen += 1
                self.drops[f"does not decode: {reason_of(error)}"] += 1
                self._line.lose()
                continue
            yield from pictures

    def _packets(self) -> Iterator[Any]:
        packets = self._container.demux(self._stream)
        num_failures = 0
        while not self._closed:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except self._av.FFmpegError as error:
                num_failures += 1
                if num_failures >= MAX_FAILURES:
                    self.ended = f"{self._path} cannot be read on: {reason_of(error)}"
                    return
                packets = self._container.demux(self._stream)  # a generator that raised is over
                continue
            num_failures = 0
            yield packet

    def _time(self, picture: Picture) -> int | None:
        self._num_seen += 1
        if picture.is_corrupt and self._damaged_us < MICROSECONDS:
            self._damaged_us += round(MICROSECONDS / self._rate_hz)
            self.drops["damaged"] += 1
            self._line.lose()
            return None
        if picture.is_corrupt:
            self.repairs["damaged, but shown after a second without a picture"] += 1
        else:
            self._damaged_us = 0
        restarts = self._line.restarts
        moment_us = _microseconds(picture)
        if moment_us is not None:
            self._moments_us.append(moment_us)
        capture_us = self._line.place(moment_us)
        if capture_us is None:
            self.drops["time went back"] += 1
        if self._line.restarts > restarts:
            self.repairs["time leapt"] += 1
        return capture_us

    def _pixels(self, picture: Picture) -> Pixels:
        if (picture.width, picture.height) != self.size:
            self.repairs["rescaled to the first picture's size"] += 1
        return to_pixels(picture, self.size)

    def _count_missing(self) -> None:
        """Frames that the header promises and the file does not hold."""
        missing = self._num_promised() - self._num_seen
        if missing > 0 and not self._closed:
            self.drops["missing in the file"] += missing
            self.ended = self.ended or f"the file ends early: {missing} frames are missing"

    def _num_promised(self) -> int:
        """By the header's count, and by the length and what usually lies between two pictures; 0 if the file tells neither."""
        gaps = np.diff(self._moments_us)
        gap_us = float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else MICROSECONDS / self._rate_hz
        by_length = round(_length_us(self._container, self._stream) / gap_us)
        count = self._stream.frames
        return min(count, by_length) if count and by_length else count or by_length

    def _release(self) -> None:
        self._container.close()


def to_pixels(picture: Picture, size: Size) -> Pixels:
    """As RGB of that size.  # [H, W, 3]"""
    array = picture.to_ndarray(format="rgb24", width=size[0], height=size[1])
    return array.view(np.uint8)  # the format's type, which PyAV does not promise


def _rate(stream: VideoStream) -> float:
    for rate in (stream.guessed_rate, stream.average_rate):
        if rate and 0 < rate <= FASTEST_HZ:
            return float(rate)
    return NOMINAL_HZ


def _microseconds(picture: Picture) -> int | None:
    ticks = picture.dts if picture.pts is None else picture.pts
    if ticks is None or not picture.time_base:
        return None
    return round(ticks * picture.time_base * MICROSECONDS)


def _length_us(container: InputContainer, stream: VideoStream) -> float:
    """What the header says; 0 if nothing."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base * MICROSECONDS)
    alone = len(container.streams) == 1  # else the length may be that of the sound
    return float(container.duration) if container.duration and alone else 0.0

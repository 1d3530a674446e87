"""Where ``paceline track`` puts what it finds."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, final

from paceline.clock import to_seconds
from paceline.errors import ConfigError, ResourceError

if TYPE_CHECKING:
    from paceline.streaming.frame import Frame, Output, Size
    from paceline.streaming.sinks.annotated import AnnotatedVideo
    from paceline.streaming.sinks.motchallenge import MotChallengeText


@final
class TrackWriter:
    """A file of the kind that its name says, or none. ConfigError for an unknown kind, ResourceError if it cannot be written."""

    def __init__(self, path: Path | None, size: Size) -> None:
        from paceline.streaming.sinks.annotated import ENCODERS, AnnotatedVideo
        from paceline.streaming.sinks.motchallenge import MotChallengeText

        self.ids: set[int] = set()
        self._ages_us: list[int] = []
        self._lines: IO[bytes] | None = None
        self._text: MotChallengeText | None = None
        self._video: AnnotatedVideo | None = None
        kind = None if path is None else path.suffix
        if path is None:
            return
        if kind == ".jsonl":
            self._lines = _opened(path)
        elif kind == ".txt":
            self._text = MotChallengeText(path)
        elif kind in ENCODERS:
            self._video = AnnotatedVideo(path, size)
        else:
            raise ConfigError(f"--out {path}: unknown kind of file; known: .jsonl, .txt, {', '.join(ENCODERS)}")

    def output(self, output: Output) -> None:
        """An answer, when it comes out."""
        from paceline.streaming.score.jsonl import encode

        self.ids.update(output.tracks.ids.tolist())
        self._ages_us.append(output.emit_us - output.capture_us)
        if self._lines is not None:
            self._lines.write(encode(output))
            self._lines.flush()
        if self._text is not None:
            self._text.write(output.frame_index, output.tracks)

    def picture(self, frame: Frame, shown: Output | None) -> None:
        """A picture, and what is on the screen with it."""
        from paceline.streaming.frame import Tracks

        if self._video is None:
            return
        if shown is None:
            self._video.write(frame, Tracks())
        else:
            age_us = max(0, frame.capture_us - shown.capture_us)
            self._video.write(frame, shown.tracks, configuration=shown.configuration, age_us=age_us)

    def ages_s(self) -> tuple[float, float] | tuple[None, None]:
        """From capture to answer: the median, and what 95 of 100 keep below."""
        if not self._ages_us:
            return None, None
        ordered = sorted(self._ages_us)
        return to_seconds(ordered[len(ordered) // 2]), to_seconds(ordered[int(0.95 * (len(ordered) - 1))])

    def __enter__(self) -> TrackWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._lines, self._text, self._video):
            if file is not None:
                file.close()


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("wb")
    except OSError as error:
        raise ResourceError(f"{path} cannot be written: {error.strerror}; give another path") from None

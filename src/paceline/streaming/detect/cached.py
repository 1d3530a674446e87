"""Detections that were recorded, with what they took: one JSON object per line.

``{"frame": 7, "detector": "d4", "runtime_s": 0.071, "boxes": [{"box": [left, top, right, bottom], "score": 0.9, "class": "vehicle"}]}``
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, final

import msgspec
import numpy as np

from paceline.errors import ConfigError, InvalidRequest, ResourceError
from paceline.streaming.detect.detector import Detector
from paceline.streaming.frame import CLASSES, Detections, Frame


class _Box(msgspec.Struct):
    box: tuple[float, float, float, float]
    score: Annotated[float, msgspec.Meta(ge=0, le=1)]
    kind: Annotated[int, msgspec.Meta(ge=0, le=2**31)] | str = msgspec.field(name="class")


class _Line(msgspec.Struct):
    frame: Annotated[int, msgspec.Meta(ge=0)]
    detector: str
    runtime_s: Annotated[float, msgspec.Meta(ge=0, le=1e6)]
    boxes: list[_Box]


@final
class Recorded:
    """What each detector found in each frame of one recording."""

    def __init__(self, found: Mapping[tuple[str, int], tuple[float, Detections]]) -> None:
        self._found = dict(found)

    def __call__(self, detector: str, frame_index: int) -> tuple[float, Detections]:
        """Seconds and detections of one frame."""
        try:
            return self._found[detector, frame_index]
        except KeyError:
            known = sorted({name for name, _ in self._found})
            raise ConfigError(
                f"nothing was recorded of detector {detector!r} for frame {frame_index}; recorded: {', '.join(known)}"
            ) from None

    def __len__(self) -> int:
        return len(self._found)

    def detector(self, name: str) -> Detector:
        """One of them as a detector that takes no time."""
        return lambda frame: self(name, frame.index)[1]

    def samples(self) -> dict[str, list[float]]:
        """Seconds by detector: a profile."""
        samples: dict[str, list[float]] = {}
        for (name, _), (seconds, _) in self._found.items():
            samples.setdefault(name, []).append(seconds)
        return samples


def record(detectors: Mapping[str, Detector], frames: Iterable[Frame]) -> Recorded:
    """Runs every detector on every frame."""
    found = {}
    for frame in frames:
        for name, detector in detectors.items():
            started = time.perf_counter()
            detections = detector(frame)
            found[name, frame.index] = time.perf_counter() - started, detections
    return Recorded(found)


def read(path: Path) -> Recorded:
    """A bad line raises InvalidRequest that tells its number."""
    found: dict[tuple[str, int], tuple[float, Detections]] = {}
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ResourceError(f"cannot read detections from {path}: {error.strerror}") from error
    decoder = msgspec.json.Decoder(_Line)
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            line = decoder.decode(text)
            if (line.detector, line.frame) in found:
                raise InvalidRequest(f"frame {line.frame} of detector {line.detector!r} is given twice", param="frame")
            found[line.detector, line.frame] = line.runtime_s, _detections(line.boxes)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidRequest) as error:
            raise InvalidRequest(f"{path}, line {number}: {error}") from error
    return Recorded(found)


def write(path: Path, recorded: Recorded) -> None:
    """A file that ``read`` gives back."""
    try:
        with path.open("wb") as file:
            file.writelines(_lines(recorded))
    except OSError as error:
        raise ResourceError(f"cannot write detections to {path}: {error.strerror}") from error


def _lines(recorded: Recorded) -> Iterator[bytes]:
    for (name, index), (seconds, found) in recorded._found.items():
        columns = zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True)
        boxes = [
            _Box(tuple(box), score, CLASSES[kind] if kind < len(CLASSES) else kind) for box, score, kind in columns
        ]
        yield msgspec.json.encode(_Line(index, name, seconds, boxes)) + b"\n"


def _detections(boxes: list[_Box]) -> Detections:
    for each in boxes:
        left, top, right, bottom = each.box
        if right < left or bottom < top:
            raise InvalidRequest(f"box {each.box} is turned inside out; give left, top, right, bottom", param="box")
        if isinstance(each.kind, str) and each.kind not in CLASSES:
            raise InvalidRequest(
                f"unknown class {each.kind!r}; known: {', '.join(CLASSES)}, or a number", param="class"
            )
    kinds = [CLASSES.index(each.kind) if isinstance(each.kind, str) else each.kind for each in boxes]
    return Detections(
        np.array([each.box for each in boxes], float).reshape(-1, 4),
        np.array([each.score for each in boxes], float),
        np.array(kinds, np.int64),
    )

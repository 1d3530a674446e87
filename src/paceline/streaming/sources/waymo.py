"""Waymo Open Dataset, perception v1: one TFRecord file is one drive; its front camera is read. Also truth as the authors of
Octopus kept it: a JSON line per frame.

Field numbers are those of ``dataset.proto`` and ``label.proto`` of the data set. The data are the user's; their licence is Waymo's
(https://waymo.com/open/terms), non-commercial.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import msgspec
import numpy as np

from paceline.errors import ConfigError, InvalidRequest
from paceline.streaming.frame import Frame, Log, Size
from paceline.streaming.sources.images import decode
from paceline.streaming.sources.labels import (
    CLASS_OF,
    CYCLIST,
    PEDESTRIAN,
    VEHICLE,
    Label,
    Numbering,
    read_text,
    require_finite,
    truth_of,
)
from paceline.streaming.sources.source import Recording
from paceline.streaming.sources.tfrecord import Message, records

FRONT: Final = 1
NOMINAL: Final = (1920, 1280)  # of the front camera
TYPES: Final = {1: VEHICLE, 2: PEDESTRIAN, 4: CYCLIST}
SUFFIX: Final = ".tfrecord"


@dataclass(frozen=True, slots=True)
class Moment:
    """What is read of one frame."""

    time_us: int
    labels: tuple[Label, ...]
    speed: float
    size: Size
    name: str
    tags: tuple[str, ...]


def read(path: Path) -> Log:
    """The drive of a TFRecord file."""
    number = Numbering()
    moments = []
    for place, record in enumerate(records(path)):
        if record is None:
            raise InvalidRequest(f"{path}, record {place}: its check sum is wrong; fetch the file again")
        try:
            moments.append(_moment(Message(record), number))
        except InvalidRequest as error:
            raise InvalidRequest(f"{path}, record {place}: {error}") from None
    if not moments:
        raise InvalidRequest(f"{path} holds no frame")
    times_us = np.array([moment.time_us for moment in moments], np.int64)
    if (np.diff(times_us) <= 0).any():
        raise InvalidRequest(f"{path}: times of its frames do not rise")
    first = moments[0]
    return Log(
        name=first.name or path.stem,
        size=first.size,
        times_us=times_us - times_us[0],
        truths=tuple(truth_of(moment.labels, first.size) for moment in moments),
        ego_speed=np.array([moment.speed for moment in moments]),
        tags=first.tags,
    )


def _moment(frame: Message, number: Numbering) -> Moment:
    context = frame.message(1)
    labels = [label for camera in frame.messages(8) if camera.integer(1) == FRONT for label in camera.messages(2)]
    velocity = _front(frame.messages(4)).message(4)
    calibration = _front(context.messages(2))
    stats = context.message(4)
    return Moment(
        frame.integer(2),
        tuple(_label(label, number) for label in labels if label.integer(3) in TYPES),
        math.hypot(*(velocity.real(axis) for axis in (1, 2, 3))),
        (calibration.integer(4) or NOMINAL[0], calibration.integer(5) or NOMINAL[1]),
        context.text(1),
        tuple(tag for tag in (stats.text(field).lower() for field in (2, 3, 4)) if tag),
    )


def _front(messages: list[Message]) -> Message:
    return next((message for message in messages if message.integer(1) == FRONT), Message(b""))


def _label(label: Message, number: Numbering) -> Label:
    box = label.message(1)
    x, y, length, width = (box.real(field) for field in (1, 2, 5, 4))  # length runs along x, width along y
    require_finite((x, y, length, width), "a label")
    left, top = x - length / 2, y - width / 2
    return Label(left, top, left + length, top + width, number(label.text(4)), TYPES[label.integer(3)])


@final
class WaymoPictures(Recording):
    """The front camera's pictures of a TFRecord file."""

    def __init__(self, path: Path) -> None:
        self._records = records(path)
        self._first = next(self._records, None)
        if self._first is None:
            raise InvalidRequest(f"{path} holds no frame that can be read; fetch it again")
        frame = Message(self._first)
        self._start_us = frame.integer(2)
        calibration = _front(frame.message(1).messages(2))
        super().__init__((calibration.integer(4) or NOMINAL[0], calibration.integer(5) or NOMINAL[1]))

    def _read(self) -> Iterator[Frame]:
        assert self._first is not None
        yield from self._frame(0, self._first)
        index = 0
        try:
            for index, record in enumerate(self._records, 1):
                yield from self._frame(index, record)
        except InvalidRequest as error:
            self.drops["not readable: the file is damaged or cut"] += 1
            self.ended = str(error)

    def _frame(self, index: int, record: bytes | None) -> Iterator[Frame]:
        if record is None:
            self.drops["the record's check sum is wrong"] += 1
            return
        frame = Message(record)
        encoded = (_front(frame.messages(4)).blobs(2) or [b""])[-1]
        pixels, reason = decode(lambda: encoded, self.size)
        if pixels is None:
            self.drops[reason] += 1
            return
        if reason:
            self.repairs[reason] += 1
        yield Frame(index, frame.integer(2) - self._start_us, self.size, pixels)

    def _release(self) -> None:
        self._first = None


class _Corners(msgspec.Struct):
    xmn: float
    xmx: float
    ymn: float
    ymx: float


class _Obstacle(msgspec.Struct):
    bbox: _Corners
    label: str
    id: int


class _Line(msgspec.Struct):
    content_type: str
    timestamp: float = 0.0  # milliseconds
    obstacles: list[_Obstacle] = []


def read_json_lines(path: Path) -> Log:
    """Truth as JSON lines: a line that tells what the file is, then one per frame, ``timestamp`` in milliseconds."""
    times_us, truths = [], []
    for number, text in enumerate(read_text(path).splitlines(), 1):
        if not text.strip():
            continue
        where = f"{path}, line {number}"
        try:
            line = msgspec.json.decode(text, type=_Line)
        except msgspec.DecodeError as error:
            raise InvalidRequest(f"{where}: {error}") from None
        if line.content_type.endswith("metadata"):
            continue
        if line.content_type != "ground_truth":
            raise InvalidRequest(f"{where}: content_type is {line.content_type!r}; truth has 'ground_truth'")
        times_us.append(round(line.timestamp * 1000))
        truths.append(truth_of([_corners(each, where) for each in line.obstacles if each.label in CLASS_OF], NOMINAL))
    if not truths:
        raise InvalidRequest(f"{path} holds no frame")
    try:
        return Log(name=path.stem, size=NOMINAL, times_us=np.array(times_us, np.int64), truths=tuple(truths))
    except ConfigError as error:
        raise InvalidRequest(f"{path}: {error}") from None


def _corners(obstacle: _Obstacle, where: str) -> Label:
    box = obstacle.bbox
    require_finite((box.xmn, box.ymn, box.xmx, box.ymx), where)
    return Label(box.xmn, box.ymn, box.xmx, box.ymx, obstacle.id, CLASS_OF[obstacle.label])

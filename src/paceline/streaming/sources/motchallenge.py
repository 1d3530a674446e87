"""MOTChallenge sequences: ``seqinfo.ini``, ``img1/`` and ``gt/gt.txt``.

A line is ``frame,id,left,top,width,height,flag,class,visible``, frames from 1. Rows with flag 0 are not judged, except that
a box on a distractor counts neither way (the rule of the benchmark's own evaluation).
"""

from __future__ import annotations

from collections import defaultdict
from configparser import ConfigParser
from configparser import Error as ParserError
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from paceline.clock import MICROSECONDS
from paceline.errors import ConfigError, InvalidRequest
from paceline.streaming.frame import Log, Size
from paceline.streaming.sources.images import Images, images, pictures_of
from paceline.streaming.sources.labels import (
    CYCLIST,
    PEDESTRIAN,
    VEHICLE,
    Label,
    read_text,
    require_finite,
    truth_of,
)

INFO: Final = "seqinfo.ini"
ONLY_PEOPLE: Final = -1  # the class in files of 2015
JUDGED: Final = {ONLY_PEOPLE: PEDESTRIAN, 1: PEDESTRIAN, 3: VEHICLE, 4: CYCLIST, 5: VEHICLE}
DISTRACTORS: Final = (2, 7, 8, 12)  # person on vehicle, static person, distractor, reflection


@dataclass(frozen=True, slots=True)
class SequenceInfo:
    """What ``seqinfo.ini`` tells."""

    name: str
    pictures: str
    rate_hz: float
    num_frames: int
    size: Size


def is_sequence(folder: Path) -> bool:
    return (folder / INFO).is_file()


def open_pictures(folder: Path, rate_hz: float | None = None) -> Images:
    """The pictures of a sequence."""
    info = _info(folder)
    return images(pictures_of(folder / info.pictures), rate_hz=rate_hz or info.rate_hz)


def read(folder: Path) -> Log:
    """A sequence with its truth."""
    info = _info(folder)
    path = folder / "gt" / "gt.txt"
    if not path.is_file():
        raise ConfigError(f"{path} is missing; MOTChallenge gives truth for its training sequences only")
    labels: dict[int, dict[int, Label]] = defaultdict(dict)
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip():
            _take(labels, line, info, f"{path}, line {number}")
    return Log(
        name=info.name,
        size=info.size,
        times_us=np.rint(np.arange(info.num_frames) * MICROSECONDS / info.rate_hz).astype(np.int64),
        truths=tuple(truth_of(list(labels[frame].values()), info.size) for frame in range(1, info.num_frames + 1)),
    )


def _take(labels: dict[int, dict[int, Label]], line: str, info: SequenceInfo, where: str) -> None:
    try:
        values = [float(text) for text in line.split(",")]
        require_finite(values, where)
        frame, track, flag, class_number = (int(values[place]) for place in (0, 1, 6, 7))
    except (ValueError, IndexError):
        raise InvalidRequest(
            f"{where}: {line[:80]!r} is not frame,id,left,top,width,height,flag,class,visible"
        ) from None
    if not 1 <= frame <= info.num_frames:
        raise InvalidRequest(f"{where}: frame {frame} is not in 1..{info.num_frames}, the length in {INFO}")
    distractor = class_number in DISTRACTORS
    if not distractor and (flag == 0 or class_number not in JUDGED):
        return
    if track in labels[frame]:
        raise InvalidRequest(f"{where}: object {track} is twice in frame {frame}")
    left, top, width, height = values[2:6]
    visible = values[8] if len(values) > 8 else 1.0
    class_index = PEDESTRIAN if distractor else JUDGED[class_number]
    labels[frame][track] = Label(left, top, left + width, top + height, track, class_index, visible, distractor)


def _info(folder: Path) -> SequenceInfo:
    parser = ConfigParser(interpolation=None)
    path = folder / INFO
    try:
        parser.read_string(read_text(path))
        section = parser["Sequence"]
        info = SequenceInfo(
            section.get("name", folder.name),
            section.get("imDir", "img1"),
            float(section["frameRate"]),
            int(section["seqLength"]),
            (int(section["imWidth"]), int(section["imHeight"])),
        )
    except (ParserError, KeyError, ValueError) as error:
        raise InvalidRequest(f"{path} lacks or garbles what it must tell: {error}") from None
    if not (0 < info.rate_hz < float("inf") and info.num_frames > 0 and min(info.size) > 0):
        raise InvalidRequest(f"{path}: frameRate, seqLength, imWidth and imHeight must be above 0")
    return info

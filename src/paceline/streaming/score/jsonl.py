"""Outputs of any system as text: one JSON object per line.

``{"frame": 7, "capture_s": 0.7, "emit_s": 0.76, "boxes": [{"box": [left, top, right, bottom], "id": 3, "score": 0.9, "class": "vehicle"}]}``

``valid_s``, the moment for which boxes are meant (the capture if not given), ``configuration``, and of a box ``age_s`` and
``deviation`` may be left out. A class is a name or a number. Other keys are passed over, and so are empty lines.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec
import numpy as np

from paceline.clock import MICROSECONDS, to_microseconds, to_seconds
from paceline.errors import InvalidRequest, ResourceError
from paceline.streaming.frame import CLASSES, Output, Tracks

_LAST_S: Final = 2.0**61 / MICROSECONDS  # beyond, microseconds would not fit into 64 bits
_Time = Annotated[float, msgspec.Meta(ge=-_LAST_S, le=_LAST_S)]
_Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Id = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class _Box(msgspec.Struct, omit_defaults=True):
    box: tuple[float, float, float, float]
    id: _Id
    score: _Share
    kind: _Number | str = msgspec.field(name="class")
    age_s: _Time = 0.0
    deviation: float = 0.0


class _Line(msgspec.Struct, omit_defaults=True):
    frame: _Number
    capture_s: _Time
    emit_s: _Time
    boxes: list[_Box]
    valid_s: _Time | None = None
    configuration: str = ""


_decoder: Final = msgspec.json.Decoder(_Line)


def read(path: Path) -> tuple[Output, ...]:
    """All outputs of a file."""
    try:
        with path.open("rb") as file:
            return tuple(parse(file, str(path)))
    except OSError as error:
        raise ResourceError(f"cannot read outputs from {path}: {error.strerror}") from error


def parse(lines: Iterable[bytes], name: str = "outputs") -> Iterator[Output]:
    """Outputs of lines; a bad one raises InvalidRequest that tells its number, the first being 1.

    >>> next(parse([b'{"frame": 0, "capture_s": 0, "emit_s": 0.07, "boxes": []}'])).emit_us
    70000
    >>> next(parse([b"{}"], "run.jsonl"))
    Traceback (most recent call last):
        ...
    paceline.errors.InvalidRequest: run.jsonl, line 1: Object missing required field `frame`
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield _output(_decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest(f"{name}, line {number}: {error}") from error
        except InvalidRequest as error:
            raise InvalidRequest(f"{name}, line {number}: {error}", param=error.param) from error


def write(path: Path, outputs: Iterable[Output]) -> None:
    """A file that ``read`` gives back."""
    try:
        with path.open("wb") as file:
            file.writelines(map(encode, outputs))
    except OSError as error:
        raise ResourceError(f"cannot write outputs to {path}: {error.strerror}") from error


def encode(output: Output) -> bytes:
    """One line with its end."""
    tracks = output.tracks
    columns = (tracks.boxes, tracks.ids, tracks.scores, tracks.classes, tracks.ages_us, tracks.deviations)
    line = _Line(
        frame=output.frame_index,
        capture_s=to_seconds(output.capture_us),
        emit_s=to_seconds(output.emit_us),
        boxes=[
            _Box(tuple(box), id, score, CLASSES[kind] if kind < len(CLASSES) else kind, to_seconds(age_us), deviation)
            for box, id, score, kind, age_us, deviation in zip(*[column.tolist() for column in columns], strict=True)
        ],
        valid_s=None if output.valid_us == output.capture_us else to_seconds(output.valid_us),
        configuration=output.configuration,
    )
    return msgspec.json.encode(line) + b"\n"


def _output(line: _Line) -> Output:
    if line.emit_s < line.capture_s:
        raise InvalidRequest(f"emit_s is {line.emit_s}, before capture_s, which is {line.capture_s}", param="emit_s")
    ids = [each.id for each in line.boxes]
    if len(set(ids)) < len(ids):
        raise InvalidRequest(f"an id is given twice among {sorted(ids)}", param="id")
    for each in line.boxes:
        _check(each)
    capture_us = to_microseconds(line.capture_s)
    return Output(
        frame_index=line.frame,
        capture_us=capture_us,
        emit_us=to_microseconds(line.emit_s),
        valid_us=capture_us if line.valid_s is None else to_microseconds(line.valid_s),
        configuration=line.configuration,
        tracks=Tracks(
            boxes=np.array([each.box for each in line.boxes], float).reshape(-1, 4),
            ids=np.array(ids, np.int64),
            scores=np.array([each.score for each in line.boxes], float),
            classes=np.array([_number(each.kind) for each in line.boxes], np.int64),
            ages_us=np.array([to_microseconds(each.age_s) for each in line.boxes], np.int64),
            deviations=np.array([each.deviation for each in line.boxes], float),
        ),
    )


def _check(each: _Box) -> None:
    left, top, right, bottom = each.box
    if not all(map(math.isfinite, each.box)):
        raise InvalidRequest(f"box {each.box} of id {each.id} holds a number that is none", param="box")
    if right < left or bottom < top:
        raise InvalidRequest(
            f"box {each.box} of id {each.id} is turned inside out; give left, top, right, bottom", param="box"
        )


def _number(kind: int | str) -> int:
    if isinstance(kind, int):
        return kind
    if kind not in CLASSES:
        raise InvalidRequest(f"unknown class {kind!r}; known: {', '.join(CLASSES)}, or a number", param="class")
    return CLASSES.index(kind)

"""Argoverse-HD: COCO's JSON with sequences. 30 pictures a second; ``fid`` is a picture's place in its sequence ``sid``.

Identities are broken where a sequence was annotated in pieces of up to 200 frames, which counts as switches in every score of identity.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import numpy as np

from paceline.clock import MICROSECONDS
from paceline.errors import ConfigError, InvalidRequest
from paceline.streaming.frame import Ints, Log
from paceline.streaming.sources.images import Images
from paceline.streaming.sources.labels import CLASS_OF, Label, read_bytes, require_finite, truth_of

RATE_HZ: Final = 30

BoxText: TypeAlias = tuple[float, float, float, float]  # left, top, width, height


class Picture(msgspec.Struct):
    id: int
    sid: int
    fid: int
    name: str
    width: int
    height: int


class Annotation(msgspec.Struct):
    image_id: int
    category_id: int
    bbox: BoxText
    track: int | None = None
    ignore: bool | int = False
    iscrowd: bool | int = False


class Category(msgspec.Struct):
    id: int
    name: str


class Annotations(msgspec.Struct):
    """What is read of such a file."""

    images: list[Picture]
    annotations: list[Annotation]
    categories: list[Category]
    sequences: list[str]
    seq_dirs: list[str] = []


def read(path: Path) -> tuple[Log, ...]:
    """All sequences of an annotation file."""
    found = _annotations(path)
    classes = {category.id: CLASS_OF.get(category.name) for category in found.categories}
    labels: dict[int, list[Label]] = defaultdict(list)
    for place, annotation in enumerate(found.annotations):
        if annotation.category_id not in classes:
            raise InvalidRequest(
                f"{path}: annotation {place} is of category {annotation.category_id}, which is not listed"
            )
        class_index = classes[annotation.category_id]
        if class_index is not None:
            require_finite(annotation.bbox, f"{path}, annotation {place}")
            labels[annotation.image_id].append(_label(annotation, class_index, place))
    return tuple(_log(name, pictures, labels) for name, pictures in _sequences(path, found).items())


def open_pictures(path: Path, name: str, pictures_at: Path) -> Images:
    """The pictures of one sequence; ``pictures_at`` is the folder that ``seq_dirs`` starts from."""
    found = _annotations(path)
    sequences = _sequences(path, found)
    if name not in sequences:
        raise ConfigError(f"{path} has no sequence {name!r}; known: {', '.join(sequences)}")
    pictures = sequences[name]
    place = found.sequences.index(name)
    folder = pictures_at / (found.seq_dirs[place] if place < len(found.seq_dirs) else name)
    times = _times_us(pictures)
    return Images([((folder / each.name).read_bytes, int(time)) for each, time in zip(pictures, times, strict=True)])


def _annotations(path: Path) -> Annotations:
    try:
        return msgspec.json.decode(read_bytes(path), type=Annotations)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"{path} is not Argoverse-HD's annotation: {error}") from None


def _sequences(path: Path, found: Annotations) -> dict[str, list[Picture]]:
    result: dict[str, list[Picture]] = {name: [] for name in found.sequences}
    for picture in found.images:
        if not 0 <= picture.sid < len(found.sequences):
            raise InvalidRequest(f"{path}: picture {picture.name!r} is of sequence {picture.sid}, which is not listed")
        result[found.sequences[picture.sid]].append(picture)
    for name, pictures in result.items():
        pictures.sort(key=lambda picture: picture.fid)
        if len({picture.fid for picture in pictures}) < len(pictures):
            raise InvalidRequest(f"{path}: two pictures of sequence {name!r} have one place")
    return {name: pictures for name, pictures in result.items() if pictures}


def _label(annotation: Annotation, class_index: int, place: int) -> Label:
    left, top, width, height = annotation.bbox
    track = -1 - place if annotation.track is None else annotation.track  # an object without identity is one of its own
    ignored = bool(annotation.ignore or annotation.iscrowd)
    return Label(left, top, left + width, top + height, track, class_index, ignored=ignored)


def _log(name: str, pictures: Sequence[Picture], labels: dict[int, list[Label]]) -> Log:
    size = (pictures[0].width, pictures[0].height)
    return Log(
        name=name,
        size=size,
        times_us=_times_us(pictures),
        truths=tuple(truth_of(labels[picture.id], size) for picture in pictures),
    )


def _times_us(pictures: Sequence[Picture]) -> Ints:
    places = np.array([picture.fid - pictures[0].fid for picture in pictures])
    return np.rint(places * MICROSECONDS / RATE_HZ).astype(np.int64)

"""Labels of any data set as truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from paceline.errors import ConfigError, InvalidRequest
from paceline.streaming.frame import CLASSES, Size, Truth

VEHICLE, PEDESTRIAN, CYCLIST = (CLASSES.index(name) for name in ("vehicle", "pedestrian", "cyclist"))

CLASS_OF: Final = {  # names that data sets use
    "vehicle": VEHICLE, "car": VEHICLE, "motorcycle": VEHICLE, "bus": VEHICLE, "truck": VEHICLE,
    "pedestrian": PEDESTRIAN, "person": PEDESTRIAN,
    "cyclist": CYCLIST, "bicycle": CYCLIST,
}  # fmt: skip


class Label(NamedTuple):
    """One labelled object of one picture, in pixels."""

    left: float
    top: float
    right: float
    bottom: float
    id: int
    class_index: int
    visible: float = 1.0
    ignored: bool = False


def truth_of(labels: Sequence[Label], size: Size) -> Truth:
    """Boxes stay as they are labelled, beyond the picture's border too, since published scores are counted so. Those that lie outside
    altogether or have no area are ignored: nobody can see them."""
    if not labels:
        return Truth()
    boxes = np.array([label[:4] for label in labels])
    width, height = size
    seen = (boxes[:, 0] < width) & (boxes[:, 1] < height) & (boxes[:, 2:] > 0).all(axis=1)
    seen &= (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return Truth(
        boxes,
        np.array([label.id for label in labels], np.int64),
        np.array([label.class_index for label in labels], np.int64),
        np.array([label.visible for label in labels], np.float64),
        np.array([label.ignored for label in labels], bool) | ~seen,
    )


class Numbering:
    """Whole numbers for names of objects, in the order in which they come."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def __call__(self, name: str) -> int:
        return self._ids.setdefault(name, len(self._ids))


def require_finite(values: Sequence[float], where: str) -> None:
    """A label with nonsense in it is the file's fault."""
    if not all(map(math.isfinite, values)):
        raise InvalidRequest(f"{where}: {list(values)} is no box; write finite numbers")


def read_bytes(path: Path) -> bytes:
    """A file of a data set."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None


def read_text(path: Path) -> str:
    """A text file of a data set."""
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path} is not text") from None

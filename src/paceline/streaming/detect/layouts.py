"""What models take and give: pictures in their shape, boxes out of their numbers. Pure.

Three layouts are known: *packaged* (bytes in, the best boxes as shares of the picture out), *YOLOv8* ([1, 4 + C, A]: centres and extents
in pixels, one score per class) and *YOLOX* ([1, A, 5 + C], not yet decoded: offsets in cells of 8, 16 and 32 pixels, objectness).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ConfigError, ModelError
from paceline.streaming.boxes import intersection_over_union
from paceline.streaming.detect.function import translated
from paceline.streaming.frame import CLASSES, Detections, Floats, Pixels, Size

STRIDES: Final = (8, 16, 32)
GREY: Final = 114  # of the border that keeps the aspect
LEAST: Final = 0.05  # scores below are not looked at
MOST: Final = 300  # boxes that are looked at
OVERLAP: Final = 0.65  # above which the lesser of two boxes of a class goes
COCO: Final = {0: 1, 1: 2, 2: 0, 3: 0, 5: 0, 7: 0}  # person; bicycle; car, motorcycle, bus, truck

Array: TypeAlias = NDArray[np.generic]


class Port(NamedTuple):
    """An input or an output of a model; sizes that are not fixed are names or None."""

    name: str
    type: str
    shape: Sequence[int | str | None]


class Layout(Protocol):
    """How to ask a model that looks at pictures of ``size``."""

    @property
    def size(self) -> Size: ...

    def prepare(self, pixels: Pixels) -> Array:
        """The model's input of a picture [H, W, 3]."""
        ...

    def read(self, outputs: Sequence[Array], frame: Size) -> Detections:
        """Detections in pixels of a frame of that size."""
        ...


@dataclass(frozen=True, slots=True)
class Packaged:
    """The layout of the packaged detectors."""

    size: Size

    def prepare(self, pixels: Pixels) -> Array:
        return np.ascontiguousarray(_resized(pixels, self.size).transpose(2, 0, 1)[None])

    def read(self, outputs: Sequence[Array], frame: Size) -> Detections:
        boxes, scores, classes = outputs
        return Detections(
            boxes[0].astype(float) * np.tile(np.asarray(frame, float), 2),
            scores[0].astype(float),
            classes[0].astype(np.int64),
        )


@dataclass(frozen=True, slots=True)
class Yolov8:
    """``classes``: the model's -> ours."""

    size: Size
    classes: Mapping[int, int]

    def prepare(self, pixels: Pixels) -> Array:
        boxed = _letterboxed(pixels, self.size)
        return np.ascontiguousarray(boxed.transpose(2, 0, 1)[None], np.float32) / np.float32(255)

    def read(self, outputs: Sequence[Array], frame: Size) -> Detections:
        rows = outputs[0][0].T.astype(float)  # [A, 4 + C]
        return _best(rows[:, :4], rows[:, 4:], self.classes, _scale(self.size, frame), frame)


@dataclass(frozen=True, slots=True)
class Yolox:
    """``classes``: the model's -> ours."""

    size: Size
    classes: Mapping[int, int]

    def prepare(self, pixels: Pixels) -> Array:
        boxed = _letterboxed(pixels, self.size)[..., ::-1]  # it was trained on BGR
        return np.ascontiguousarray(boxed.transpose(2, 0, 1)[None], np.float32)

    def read(self, outputs: Sequence[Array], frame: Size) -> Detections:
        rows = outputs[0][0].astype(float)  # [A, 5 + C]
        cells, strides = _cells(self.size)
        boxes = np.concatenate((rows[:, :2] + cells, np.exp(np.minimum(rows[:, 2:4], 10.0))), axis=1) * strides[:, None]
        return _best(boxes, rows[:, 4:5] * rows[:, 5:], self.classes, _scale(self.size, frame), frame)


def layout_of(
    path: str, inputs: Sequence[Port], outputs: Sequence[Port], size: Size, classes: Mapping[int, int] | None
) -> Layout:
    """What a model's inputs and outputs tell. ModelError if they are of no known layout."""
    found = f"{path} takes {_told(inputs)} and gives {_told(outputs)}"
    if len(inputs) == 1 and inputs[0].type == "tensor(uint8)":
        if [port.name for port in outputs] == ["boxes", "scores", "classes"]:
            return Packaged(size)
    elif len(inputs) == len(outputs) == 1 and inputs[0].type == "tensor(float)" and len(outputs[0].shape) == 3:
        num_places, (_, rows, columns) = len(_cells(size)[1]), outputs[0].shape
        if columns == num_places and isinstance(rows, int) and rows > 4:
            return Yolov8(size, _classes(rows - 4, classes, found))
        if rows == num_places and isinstance(columns, int) and columns > 5:
            return Yolox(size, _classes(columns - 5, classes, found))
    raise ModelError(
        f"{found}; known for pictures of {size[0]} x {size[1]}: uint8 [1, 3, H, W] to boxes, scores and classes; float "
        f"[1, 3, H, W] to [1, 4 + C, A] (YOLOv8) or [1, A, 5 + C] (YOLOX), A = {len(_cells(size)[1])}"
    )


def _told(ports: Sequence[Port]) -> str:
    return ", ".join(f"{port.name!r} {port.type} {list(port.shape)}" for port in ports) or "nothing"


def _classes(num: int, given: Mapping[int, int] | None, found: str) -> Mapping[int, int]:
    if given is not None:
        return given
    if num == len(CLASSES):
        return {kind: kind for kind in range(num)}
    if num == 80:
        return COCO
    raise ModelError(f"{found}: {num} classes; say by `classes` which of them are {', '.join(CLASSES)}")


def _resized(pixels: Pixels, size: Size) -> Pixels:
    """Bilinear over all pixels that are merged."""
    try:
        from PIL import Image
    except ImportError:
        raise ConfigError('resizing needs Pillow; run `pip install "paceline[video]"`') from None
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def _letterboxed(pixels: Pixels, size: Size) -> Pixels:
    """Keeping the aspect, at the upper left."""
    scale = _scale(size, (pixels.shape[1], pixels.shape[0]))
    inner = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    result = np.full((size[1], size[0], 3), GREY, np.uint8)
    result[: inner[1], : inner[0]] = _resized(pixels, inner)
    return result


def _scale(size: Size, frame: Size) -> float:
    return min(size[0] / frame[0], size[1] / frame[1])


def _cells(size: Size) -> tuple[Floats, Floats]:
    """Corner of each cell, in cells, and its side in pixels.  # [A, 2], [A]"""
    corners, sides = [], []
    for stride in STRIDES:
        columns, rows = np.meshgrid(np.arange(size[0] // stride), np.arange(size[1] // stride))
        corners.append(np.stack([columns.ravel(), rows.ravel()], axis=1).astype(float))
        sides.append(np.full(columns.size, float(stride)))
    return np.concatenate(corners), np.concatenate(sides)


def _best(boxes: Floats, scores: Floats, classes: Mapping[int, int], scale: float, frame: Size) -> Detections:
    """Of centres and extents [A, 4] with scores [A, C] those that none of their class hides, in pixels of the frame."""
    kinds = scores.argmax(1)
    best = scores[np.arange(len(scores)), kinds]
    order = np.argsort(-best, kind="stable")[:MOST]
    order = order[best[order] >= LEAST]
    middle, half = boxes[order, :2] / scale, boxes[order, 2:] / scale / 2
    corners = np.clip(np.concatenate((middle - half, middle + half), axis=1), 0.0, np.tile(np.asarray(frame, float), 2))
    found = translated(Detections(corners, best[order], kinds[order]), classes)
    return _unhidden(found)


def _unhidden(found: Detections) -> Detections:
    """Greedy suppression; ``found`` by falling score."""
    hides = (intersection_over_union(found.boxes[:, None], found.boxes[None]) > OVERLAP) & (
        found.classes[:, None] == found.classes[None]
    )
    kept = np.ones(len(found), bool)
    for place in range(len(found)):
        if kept[place]:
            kept[place + 1 :] &= ~hides[place, place + 1 :]
    return Detections(found.boxes[kept], found.scores[kept], found.classes[kept])

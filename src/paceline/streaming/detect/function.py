"""Any callable as a detector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike

from paceline.streaming.detect.detector import checked, pixels_of
from paceline.streaming.frame import Detections, Frame, Pixels

Found: TypeAlias = tuple[ArrayLike, ArrayLike, ArrayLike]
"""Boxes [N, 4] (left, top, right, bottom in pixels), scores [N] in 0..1, classes [N]."""


@final
class Function:
    """Asks ``call`` about the pixels [H, W, 3] of each frame. ``classes``: the model's classes -> ours; others are passed over.

    >>> detector = Function(lambda pixels: ([[0, 0, 9, 9], [1, 1, 5, 5]], [0.9, 0.8], [2, 62]), classes={2: 0})
    >>> len(detector(Frame(0, 0, (16, 9), np.zeros((9, 16, 3), np.uint8))))
    1
    """

    def __init__(
        self, call: Callable[[Pixels], Found], *, name: str = "function", classes: Mapping[int, int] | None = None
    ) -> None:
        self._call, self._name, self._classes = call, name, classes

    def __call__(self, frame: Frame) -> Detections:
        found = checked(self._name, *self._call(pixels_of(frame)))
        return found if self._classes is None else translated(found, self._classes)


def translated(found: Detections, classes: Mapping[int, int]) -> Detections:
    """Detections of those classes that are known, by our numbers."""
    kept = np.isin(found.classes, list(classes))
    ours = np.array([classes[kind] for kind in found.classes[kept].tolist()], np.int64)
    return Detections(found.boxes[kept], found.scores[kept], ours)

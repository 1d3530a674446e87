"""What a detector is, and the check of what foreign ones give."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from paceline.errors import ModelError
from paceline.streaming.frame import Detections, Frame, Pixels


class Detector(Protocol):
    """Finds objects in one picture. May be called by several threads at once."""

    def __call__(self, frame: Frame) -> Detections: ...


def pixels_of(frame: Frame) -> Pixels:
    """The picture. ModelError if the frame has none."""
    if frame.pixels is None:
        raise ModelError(f"frame {frame.index} has no pixels to look at; use recorded detections for such a source")
    return frame.pixels


def checked(name: str, boxes: ArrayLike, scores: ArrayLike, classes: ArrayLike) -> Detections:
    """Detections of what the detector ``name`` gave, in pixels. ModelError if it cannot be such."""
    try:
        result = (
            np.asarray(boxes, float).reshape(-1, 4),
            np.asarray(scores, float).reshape(-1),
            np.asarray(classes).reshape(-1),
        )
    except (TypeError, ValueError) as error:
        raise ModelError(f"detector {name!r} must give boxes [N, 4], scores [N] and classes [N]: {error}") from error
    counts = tuple(map(len, result))
    if len(set(counts)) > 1:
        raise ModelError(f"detector {name!r} gave {counts[0]} boxes, {counts[1]} scores and {counts[2]} classes")
    if not (np.isfinite(result[0]).all() and np.isfinite(result[1]).all()):
        raise ModelError(f"detector {name!r} gave a box or a score that is not finite")
    if len(result[2]) and not np.issubdtype(result[2].dtype, np.integer):
        raise ModelError(f"detector {name!r} gave classes of type {result[2].dtype}; whole numbers are needed")
    return Detections(result[0], result[1], result[2].astype(np.int64))

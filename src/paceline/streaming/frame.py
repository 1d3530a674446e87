"""What flows through a pipeline: frames, detections, tracks, outputs; and what outputs are judged by.

Times are integer microseconds, since rounding decides which output counts. Boxes are ``[N, 4]``: left, top, right, bottom, in pixels
of the source.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ConfigError

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Pixels: TypeAlias = NDArray[np.uint8]
Size: TypeAlias = tuple[int, int]  # width, height

CLASSES = ("vehicle", "pedestrian", "cyclist")


def _none() -> Floats:
    return np.zeros(0)


def _no_boxes() -> Floats:
    return np.zeros((0, 4))


def _no_ids() -> Ints:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a source. ``pixels`` [H, W, 3] is None where detections come from a record."""

    index: int
    capture_us: int
    size: Size
    pixels: Pixels | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What a detector found in one frame: N boxes with their scores in 0..1 and classes."""

    boxes: Floats = field(default_factory=_no_boxes)  # [N, 4]
    scores: Floats = field(default_factory=_none)  # [N]
    classes: Ints = field(default_factory=_no_ids)  # [N]

    def __post_init__(self) -> None:
        _require_rows(self.boxes, self.scores, self.classes)

    def __len__(self) -> int:
        return len(self.boxes)

    def above(self, score: float) -> Detections:
        """Those with at least this score."""
        kept = self.scores >= score
        return Detections(self.boxes[kept], self.scores[kept], self.classes[kept])


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """Objects at one moment. ``ages_us`` tells how long ago each was last seen; ``deviations`` how sure its box is (pixels)."""

    boxes: Floats = field(default_factory=_no_boxes)  # [N, 4]
    ids: Ints = field(default_factory=_no_ids)  # [N]
    scores: Floats = field(default_factory=_none)  # [N]
    classes: Ints = field(default_factory=_no_ids)  # [N]
    ages_us: Ints = field(default_factory=_no_ids)  # [N]
    deviations: Floats = field(default_factory=_none)  # [N]

    def __post_init__(self) -> None:
        _require_rows(self.boxes, self.ids, self.scores, self.classes, self.ages_us, self.deviations)

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """What a pipeline said: boxes made from the frame ``frame_index``, out at ``emit_us``, meant for ``valid_us``."""

    frame_index: int
    capture_us: int
    emit_us: int
    valid_us: int
    configuration: str
    tracks: Tracks


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Where objects are at the time of one frame. Ignored ones count neither for nor against anybody."""

    boxes: Floats = field(default_factory=_no_boxes)  # [N, 4]
    ids: Ints = field(default_factory=_no_ids)  # [N]
    classes: Ints = field(default_factory=_no_ids)  # [N]
    visible: Floats = field(default_factory=_none)  # [N], share
    ignored: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))  # [N]

    def __post_init__(self) -> None:
        _require_rows(self.boxes, self.ids, self.classes, self.visible, self.ignored)

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Log:
    """A recorded drive with its truth: F frames."""

    name: str
    size: Size
    times_us: Ints  # [F], ascending
    truths: tuple[Truth, ...]
    ego_speed: Floats | None = None  # [F], m/s
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.times_us) != len(self.truths):
            raise ConfigError(
                f"log {self.name!r} has {len(self.times_us)} times but truth for {len(self.truths)} frames"
            )
        if (np.diff(self.times_us) <= 0).any():
            raise ConfigError(f"log {self.name!r} has times that do not rise")


def _require_rows(boxes: Floats, *others: NDArray[np.generic]) -> None:
    assert boxes.ndim == 2
    assert boxes.shape[1] == 4
    assert all(len(other) == len(boxes) for other in others), [len(other) for other in (boxes, *others)]

"""A pinhole camera above a flat ground; it turns and nods by less than a degree beside the car's heading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from paceline.streaming.frame import Floats, Size

NOMINAL: Final[Size] = (1280, 720)
FOCAL: Final = 1030.0  # pixels of the nominal width: 64 degrees from side to side
HORIZON: Final = 330.0  # row of the nominal height
HEIGHT: Final = 1.9  # m above the ground
NEAR: Final = 0.8  # m


@dataclass(frozen=True, slots=True)
class Camera:
    """``column`` and ``row`` are where the axis meets the picture, in pixels of ``size``."""

    size: Size
    focal_x: float
    focal_y: float
    column: float
    row: float

    @classmethod
    def looking(cls, size: Size, pitch: float) -> Camera:
        scale_x, scale_y = size[0] / NOMINAL[0], size[1] / NOMINAL[1]
        row = (HORIZON + FOCAL * pitch) * scale_y
        return cls(size, FOCAL * scale_x, FOCAL * scale_y, size[0] / 2, row)

    def project(self, points: Floats) -> Floats:
        """[..., 3] as right, height above ground, ahead -> [..., 2] pixels; what is behind is drawn at `NEAR`."""
        depth = np.maximum(points[..., 2], NEAR)
        column = self.column + self.focal_x * points[..., 0] / depth
        row = self.row + self.focal_y * (HEIGHT - points[..., 1]) / depth
        return np.stack([column, row], axis=-1)

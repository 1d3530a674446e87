"""The road as the car sees it, up to where it turns aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from paceline.streaming.frame import Floats
from paceline.streaming.render.route import Route

FARTHEST: Final = 230.0  # m up to which anybody is looked for
REACH: Final = 280.0  # m of road that is looked at
ASIDE: Final = 1.15  # rad against our heading from which a road no longer leads ahead


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """Points of the road's middle, one metre apart: how far ahead (rising), how far to the right, where along, its heading."""

    z: Floats
    x: Floats
    s: Floats
    heading: Floats

    @classmethod
    def along(cls, route: Route, ego_s: float, ego_yaw: float) -> Sight:
        s = ego_s + np.arange(0.0, REACH)
        x, z, heading = route.place(s, np.zeros(len(s)))
        yaw = heading[0] + ego_yaw
        east, north = x - x[0], z - z[0]
        heading = heading - yaw
        aside = np.abs(heading) > ASIDE
        end = max(2, int(aside.argmax())) if aside.any() else len(s)
        right, ahead = east * np.cos(yaw) - north * np.sin(yaw), east * np.sin(yaw) + north * np.cos(yaw)
        return cls(ahead[:end], right[:end], s[:end], heading[:end])

    def at(self, z: Floats) -> tuple[Floats, Floats]:
        """The road's middle this far ahead, to the right and along; where it turned aside the other road goes straight on."""
        return np.interp(z, self.z, self.x), np.interp(z, self.z, self.s) + np.maximum(0.0, z - self.z[-1])

"""Where objects are when somebody asks, from where they were when they were last seen. Never touches the filter."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from paceline.clock import to_microseconds
from paceline.errors import ConfigError
from paceline.streaming.frame import Size, Tracks
from paceline.streaming.track.tracker import Tracker

HORIZON_S: Final = 1.0
SMALLEST: Final = 1.0  # pixels: what is left of a box at the picture's edge


@final
class Forecaster:
    """Answers for any moment. Beyond ``horizon_s`` after its last picture boxes stay where they were then, and go on ageing."""

    def __init__(self, tracker: Tracker, size: Size, horizon_s: float = HORIZON_S) -> None:
        if not horizon_s >= 0:
            raise ConfigError(f"horizon_s must be >= 0, got {horizon_s}")
        self._tracker, self._horizon_us = tracker, to_microseconds(horizon_s)
        self._edges = np.tile(np.asarray(size, float), 2)

    def query(self, at_us: int) -> Tracks:
        """Objects at a moment, within the picture; those that have left it are not there."""
        last_us = self._tracker.last_us
        if last_us is None:
            return Tracks()
        beyond_us = max(0, at_us - last_us - self._horizon_us)
        moved = self._tracker.tracks(at_us - beyond_us)
        boxes = np.clip(moved.boxes, 0.0, self._edges)
        inside = ((boxes[:, 2:] - boxes[:, :2]) >= SMALLEST).all(1)
        ages_us = moved.ages_us + beyond_us
        return Tracks(
            boxes[inside], moved.ids[inside], moved.scores[inside], moved.classes[inside], ages_us[inside],
            moved.deviations[inside],
        )  # fmt: skip

"""How well what is shown fits what is found, once that is known: a measure of staleness that needs no truth. Pure."""

from __future__ import annotations

from typing import Final

import numpy as np

from paceline.streaming.boxes import intersection_over_union
from paceline.streaming.frame import Detections, Tracks

MATCHED: Final = 0.5  # overlap of a box on the screen with a detection


def agreement(shown: Tracks, found: Detections) -> float:
    """Share of boxes on both sides that fit one on the other, 0..1."""
    if not (len(shown) and len(found)):
        return 0.0
    overlap = intersection_over_union(shown.boxes[:, None], found.boxes[None])  # [N, M]
    mutual = overlap.argmax(0)[overlap.argmax(1)] == np.arange(len(shown))
    return 2 * int((mutual & (overlap.max(1) >= MATCHED)).sum()) / (len(shown) + len(found))

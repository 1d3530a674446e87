"""ByteTrack (Zhang et al., 2022, arXiv 2110.06864): detections that are in doubt may keep a track alive, but begin none."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from paceline.streaming.frame import Detections, Ints
from paceline.streaming.track.sort import Motion
from paceline.streaming.track.tracker import matched

SURE: Final = 0.5  # score from which a detection is matched first
BEGINS: Final = 0.55  # and from which it may begin a track


@final
class Byte(Motion):
    """Sure detections choose first, the others from the tracks that are left. Give configurations a low ``min_score``."""

    def assign(self, detections: Detections) -> tuple[Ints, Ints, Ints]:
        boxes = self._kalman.boxes()
        sure = np.flatnonzero(detections.scores >= SURE)
        doubtful = np.flatnonzero(detections.scores < SURE)
        rows, columns = matched(boxes, detections.boxes[sure], self._match_iou)
        left = np.setdiff1d(np.arange(len(boxes)), rows)
        more, others = matched(boxes[left], detections.boxes[doubtful], max(self._match_iou, 0.5))
        new = np.setdiff1d(sure, sure[columns])
        new = new[detections.scores[new] >= BEGINS]
        return np.concatenate((rows, left[more])), np.concatenate((sure[columns], doubtful[others])), new

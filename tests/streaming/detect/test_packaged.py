"""The packaged detectors find what a drive shows, the slow ones more of the small things."""

from __future__ import annotations

import numpy as np
import pytest

from paceline.streaming.boxes import intersection_over_union
from paceline.streaming.detect.onnx import ladder
from paceline.streaming.render import Drive

pytest.importorskip("onnxruntime")


def test_there_are_six_and_each_finds_objects() -> None:
    drive = Drive(seed=11, duration_s=4.0, light="day")
    frame, truth = drive.frame(20), drive.log.truths[20]
    edge = np.sqrt(np.prod(truth.boxes[:, 2:] - truth.boxes[:, :2], axis=1))
    clear = truth.boxes[(edge > 40) & (truth.visible > 0.7) & ~truth.ignored]
    assert len(clear) > 0
    known = ladder()
    assert list(known) == ["d1", "d2", "d3", "d4", "d5", "d6"]
    for each in known.values():
        found = each.load()(frame).above(0.3)
        best = intersection_over_union(clear[:, None], found.boxes[None]).max(1, initial=0.0)
        assert (best > 0.5).mean() >= 0.5
        assert ((found.boxes >= 0) & (found.boxes <= np.tile(frame.size, 2))).all()

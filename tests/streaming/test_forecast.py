from __future__ import annotations

import numpy as np
import pytest

from paceline.errors import ConfigError
from paceline.streaming.boxes import intersection_over_union
from paceline.streaming.forecast import Forecaster
from paceline.streaming.frame import Detections
from paceline.streaming.render import Drive
from tests.streaming.track.test_sort import SIZE, found, sort, square


def test_nothing_is_known_before_the_first_picture() -> None:
    assert len(Forecaster(sort(), SIZE).query(10)) == 0


def test_objects_move_on_and_leave_the_picture() -> None:
    tracker = sort()
    forecaster = Forecaster(tracker, SIZE)
    for step in range(10):
        tracker.update(found(square(400 + 20 * step), square(100, 300)), 100_000 * step)
    soon = forecaster.query(1_100_000)
    assert soon.boxes[0, 0] == pytest.approx(620, abs=8)
    assert soon.boxes[0, 2] == 640
    assert soon.ages_us.tolist() == [200_000, 200_000]
    assert (soon.deviations > tracker.emitted().deviations).all()
    assert forecaster.query(1_800_000).ids.tolist() == [2]


def test_beyond_the_horizon_boxes_stay_and_age() -> None:
    tracker = sort(max_age_s=9.0)
    forecaster = Forecaster(tracker, SIZE, horizon_s=0.5)
    for step in range(6):
        tracker.update(found(square(100 + 5 * step)), 100_000 * step)
    at, later = forecaster.query(1_000_000), forecaster.query(3_000_000)
    assert np.array_equal(at.boxes, later.boxes)
    assert (at.ages_us.tolist(), later.ages_us.tolist()) == ([500_000], [2_500_000])


def test_a_horizon_that_makes_no_sense() -> None:
    with pytest.raises(ConfigError, match="horizon_s"):
        Forecaster(sort(), SIZE, horizon_s=-1.0)


def test_on_drives_forecasts_fit_better_than_what_was_seen() -> None:
    """Boxes of the truth, every second picture, asked two pictures later."""
    kept, moved, total = 0, 0, 0
    for seed in (3, 4):
        log = Drive(seed=seed, duration_s=8.0).log
        tracker = sort(max_age_s=0.5)
        forecaster = Forecaster(tracker, log.size)
        for step in range(0, len(log.truths) - 2, 2):
            truth, later = log.truths[step], log.truths[step + 2]
            tracker.update(Detections(truth.boxes, np.ones(len(truth)), truth.classes), int(log.times_us[step]))
            asked = forecaster.query(int(log.times_us[step + 2]))
            for boxes, is_moved in ((truth.boxes, False), (asked.boxes, True)):
                best = intersection_over_union(later.boxes[:, None], boxes[None]).max(1, initial=0.0) >= 0.5
                kept, moved = (kept, moved + int(best.sum())) if is_moved else (kept + int(best.sum()), moved)
            total += len(later)
    assert moved > kept + 0.05 * total

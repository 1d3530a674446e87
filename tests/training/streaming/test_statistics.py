"""The rendered drives look like real ones, in numbers: the main statistics on a few of them, with more room than the full table needs."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from paceline.streaming.frame import Log, Truth
from paceline.streaming.render.drive import Drive
from training.streaming.calibrate import WANTED, WANTED_IOU
from training.streaming.statistics import FEATURES, lag_correlation, self_iou, windows

NUM_DRIVES = 24


@lru_cache
def rows() -> list[np.ndarray]:
    return [windows(Drive(seed=seed).log) for seed in range(NUM_DRIVES)]


@pytest.mark.parametrize("feature", FEATURES)
def test_the_median_and_the_upper_quarter_are_near(feature: str) -> None:
    found = np.nanpercentile(np.concatenate(rows())[:, FEATURES.index(feature)], (50, 75))
    np.testing.assert_allclose(found, WANTED[feature][2:4], rtol=0.4)


def test_displacement_is_remembered_for_a_second() -> None:
    values = [log[:, FEATURES.index("displacement")] for log in rows()]
    assert 0.5 < lag_correlation(values, 1) < 0.9
    assert lag_correlation(values, 8) < 0.4


def test_small_boxes_leave_themselves_soonest() -> None:
    logs = [Drive(seed=seed, rate_hz=30, duration_s=7).log for seed in range(10, 20)]
    for lag, wanted in WANTED_IOU.items():
        found = self_iou(logs, lag)
        for size, iou in wanted.items():
            assert found[size][0] == pytest.approx(iou, abs=0.1), (lag, size)


def still(speed: float) -> Log:
    """One box that goes three pixels a frame, and one that comes in the second half."""
    one = [np.array([[10.0 + 3 * i, 20.0, 30.0 + 3 * i, 30.0]]) for i in range(10)]
    truths = [
        Truth(
            np.concatenate([box, [[100.0, 100.0, 110.0, 110.0]]])[: 1 + (i >= 5)],
            np.arange(1 + (i >= 5)),
            np.zeros(1 + (i >= 5), np.int64),
            np.ones(1 + (i >= 5)),
            np.zeros(1 + (i >= 5), bool),
        )
        for i, box in enumerate(one)
    ]
    return Log(
        name="x",
        size=(1920, 1080),
        times_us=np.arange(10) * 100_000,
        truths=tuple(truths),
        ego_speed=np.full(10, speed),
    )


def test_features_of_a_window_by_hand() -> None:
    found = dict(zip(FEATURES, windows(still(4.0))[0], strict=True))
    assert found == pytest.approx(
        {"boxes": 1.5, "area": (10 * 200 + 5 * 100) / 15, "displacement": 15.0, "ego_speed": 4.0, "longevity": 7.5}
    )


def test_self_iou_by_hand() -> None:
    """Frames 0, 3, 6 and 9 are looked at: a shift of 3 in 20 pixels, once beside a box that stands."""
    found = self_iou([still(0.0)], 1)
    assert list(found) == ["small"]
    assert found["small"][0] == pytest.approx(np.mean([17 / 23, 17 / 23, 17 / 23, 1.0]))

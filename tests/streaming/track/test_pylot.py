from __future__ import annotations

import numpy as np
import pytest

from tests.streaming.track.test_sort import found, sort, square


@pytest.mark.parametrize(("pictures", "coasted"), [(1, 0), (3, 1), (5, 2), (7, 3)])
def test_tracks_age_twice_in_each_picture(pictures: int, coasted: int) -> None:
    tracker = sort(name="pylot", max_age_s=pictures / 10)
    tracker.update(found(square(100)), 0)
    shown = []
    for step in range(1, 9):
        tracker.update(found(), 100_000 * step)
        shown.append(len(tracker.emitted()))
    assert shown == [1] * coasted + [0] * (8 - coasted)


def settled(every: int, speed: float = 3.0) -> list[float]:
    """How many pictures boxes lead by, once the filter has settled, with a detection in every so many pictures."""
    tracker = sort(name="pylot", max_age_s=5.0)
    leads = []
    for step in range(400):
        x = 10 + speed * step
        if step % every == 0:
            tracker.update(found(square(x, side=200)), 100_000 * step)
        else:
            tracker.skip()
        leads.append((tracker.emitted().boxes[0, 0] - x) / speed)
    return leads[-(400 % every or every) - every : len(leads) - (400 % every or every) + every][:every]


def test_boxes_lead_by_what_the_second_prediction_adds() -> None:
    assert settled(1) == pytest.approx([0.5], abs=0.02)
    leads = sorted(settled(3), reverse=True)
    assert leads == pytest.approx([0.75, 0.5, 0.25], abs=0.02)


def test_what_is_given_out_does_not_move() -> None:
    tracker = sort(name="pylot")
    for step in range(4):
        tracker.update(found(square(100 + 9 * step)), 100_000 * step)
    assert np.array_equal(tracker.tracks(900_000).boxes, tracker.emitted().boxes)


def test_a_shrinking_area_stops_at_nothing() -> None:
    tracker = sort(name="pylot", max_age_s=3.0)
    for step, side in enumerate((80, 60, 40, 20)):
        tracker.update(found(square(100, side=side)), 100_000 * step)
    for step in range(4, 12):
        tracker.update(found(), 100_000 * step)
    assert np.isfinite(tracker.emitted().boxes).all()

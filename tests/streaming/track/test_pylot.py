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


def test_pairs_are_chosen_before_those_of_too_little_overlap_go() -> None:
    """0.45 and 0.09 are more than 0.5 and nothing, so the first track goes up, though what lies below fits it better."""
    tracker = sort(name="pylot")
    tracker.update(found(square(100, 100, side=100), square(100, 217, side=100)), 0)
    below, above = square(100, 133, side=100), square(100, 62, side=100)
    tracker.update(found(below, above), 100_000)
    tracks = tracker.emitted()
    assert tracks.ids.tolist() == [1, 2, 3]
    assert tracks.boxes[0, 1] < 100


def test_an_area_below_a_pixel_no_longer_shrinks() -> None:
    tracker = sort(name="pylot", max_age_s=3.0)
    for step in range(5):
        tracker.update(found(square(100, side=10 - 2 * step)), 100_000 * step)
    for step in range(5, 12):
        tracker.update(found(), 100_000 * step)
    sides = tracker.emitted().boxes[0, 2:] - tracker.emitted().boxes[0, :2]
    assert sides.prod() > 1.0

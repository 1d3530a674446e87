from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.errors import ConfigError
from paceline.streaming.boxes import intersection_over_union
from paceline.streaming.frame import Detections
from paceline.streaming.track.tracker import TRACKERS, make_tracker, matched

SIZE = (640, 480)


def found(*boxes: tuple[float, float, float, float], score: float = 0.9) -> Detections:
    return Detections(np.array(boxes, float).reshape(-1, 4), np.full(len(boxes), score), np.zeros(len(boxes), int))


def square(x: float, y: float = 100.0, side: float = 40.0) -> tuple[float, float, float, float]:
    return (x, y, x + side, y + side)


def sort(max_age_s: float = 0.3, name: str = "sort"):
    return make_tracker(name, max_age_s=max_age_s, match_iou=0.1, size=SIZE)


@pytest.mark.parametrize("name", ["sort", "byte", "pylot"])
def test_an_object_keeps_its_name_and_others_get_theirs(name: str) -> None:
    tracker = sort(name=name)
    for step in range(8):
        tracker.update(found(square(100 + 8 * step), square(400 - 8 * step, 300)), 100_000 * step)
    assert sorted(tracker.emitted().ids.tolist()) == [1, 2]
    tracker.update(found(square(164), square(336, 300), square(20, 20)), 800_000)
    assert sorted(tracker.emitted().ids.tolist()) == [1, 2, 3]


@pytest.mark.parametrize("gaps_ms", [[100] * 12, [33] * 24, [100, 250, 33, 400, 100, 60, 200, 100, 100, 150]])
def test_motion_is_learned_in_seconds_whatever_the_gaps(gaps_ms: list[int]) -> None:
    tracker, at = sort(), 0
    for gap in gaps_ms:
        tracker.update(found(square(50 + at * 60e-6, side=60)), at)
        at += gap * 1000
    last = tracker.last_us
    later = tracker.tracks(last + 300_000)
    wanted = np.array(square(50 + (last + 300_000) * 60e-6, side=60))
    assert intersection_over_union(later.boxes[0], wanted) > 0.8
    assert later.ages_us.tolist() == [300_000]


def test_growth_goes_on() -> None:
    tracker = sort()
    for step in range(10):
        side = 40 * 1.1**step
        tracker.update(found((300 - side / 2, 200 - side / 2, 300 + side / 2, 200 + side / 2)), 100_000 * step)
    box = tracker.tracks(1_100_000).boxes[0]
    assert box[2] - box[0] == pytest.approx(40 * 1.1**11, rel=0.1)


def test_looking_ahead_changes_nothing() -> None:
    tracker = sort()
    for step in range(5):
        tracker.update(found(square(100 + 9 * step)), 100_000 * step)
    before = tracker.emitted()
    tracker.tracks(900_000)
    assert np.array_equal(before.boxes, tracker.emitted().boxes)
    assert np.array_equal(before.boxes, tracker.tracks(0).boxes)  # the past is not asked for


def test_a_copy_goes_its_own_way() -> None:
    tracker = sort()
    tracker.update(found(square(100)), 0)
    other = tracker.copy()
    other.update(found(square(130)), 100_000)
    assert tracker.last_us == 0
    assert tracker.emitted().boxes[0].tolist() == pytest.approx(square(100))


def test_who_is_not_seen_lives_on_for_a_while() -> None:
    tracker = sort(max_age_s=0.3)
    tracker.update(found(square(100)), 0)
    for step in range(1, 4):
        tracker.update(found(), 100_000 * step)
        assert tracker.emitted().ids.tolist() == [1]
    tracker.update(found(), 400_000)
    assert len(tracker.emitted()) == 0
    tracker.update(found(square(100)), 500_000)
    assert tracker.emitted().ids.tolist() == [2]  # names are not given twice


def test_tuning_keeps_tracks() -> None:
    tracker = sort(max_age_s=1.0)
    tracker.update(found(square(100)), 0)
    tracker.tune(max_age_s=0.0, match_iou=0.1)
    tracker.update(found(square(105)), 100_000)
    assert tracker.emitted().ids.tolist() == [1]
    tracker.update(found(), 200_000)
    assert len(tracker.emitted()) == 0


def test_doubtful_boxes_keep_a_track_alive_but_begin_none() -> None:
    tracker = sort(name="byte", max_age_s=0.1)
    tracker.update(found(square(100), score=0.3), 0)
    assert len(tracker.emitted()) == 0
    tracker.update(found(square(100)), 100_000)
    for step in range(2, 6):
        tracker.update(found(square(100), score=0.3), 100_000 * step)
    assert tracker.emitted().ids.tolist() == [1]


def test_boxes_that_are_none_are_left_out_and_counted() -> None:
    tracker = sort()
    nan, inf = float("nan"), float("inf")
    tracker.update(found((nan, 0, 1, 1), (0, 0, inf, 5), (9, 9, 3, 20), (5, 5, 5, 9), square(10)), 0)
    assert tracker.num_unusable == 4
    assert len(tracker.emitted()) == 1


@pytest.mark.parametrize("name", ["sort", "byte", "pylot"])
def test_a_thousand_boxes_none_and_a_long_pause(name: str) -> None:
    tracker, rng = sort(name=name), np.random.default_rng(0)
    corners = rng.uniform(0, 400, (1000, 2))
    boxes = np.concatenate((corners, corners + rng.uniform(1, 80, (1000, 2))), 1)
    for at in (0, 0, 100_000, 600_000_000):
        tracker.update(Detections(boxes, np.full(1000, 0.9), np.zeros(1000, int)), at)
        assert len(set(tracker.emitted().ids.tolist())) == len(tracker.emitted()) >= 1000
    tracker.update(found(), 1_200_000_000)
    assert np.isfinite(tracker.tracks(1_300_000_000).boxes).all()


@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 600), st.floats(0, 400), st.floats(2, 200), st.floats(2, 200)), max_size=6),
        max_size=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_names_are_different_and_states_finite(steps: list) -> None:
    tracker = sort()
    for step, boxes in enumerate(steps):
        tracker.update(found(*((x, y, x + w, y + h) for x, y, w, h in boxes)), 70_000 * step)
        later = tracker.tracks(70_000 * step + 500_000)
        assert len(set(later.ids.tolist())) == len(later)
        assert np.isfinite(later.boxes).all()
        assert (later.boxes[:, 2:] > later.boxes[:, :2]).all()
        assert (later.deviations > 0).all()


@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 1000))
@settings(max_examples=80, deadline=None)
def test_the_short_way_of_matching_equals_the_long_one(num: int, others: int, seed: int) -> None:
    from scipy.optimize import linear_sum_assignment

    rng = np.random.default_rng(seed)
    ours, theirs = (
        np.concatenate((c := rng.uniform(0, 60, (n, 2)), c + rng.uniform(5, 30, (n, 2))), 1) for n in (num, others)
    )
    rows, columns = matched(ours, theirs, 0.2)
    overlap = intersection_over_union(ours[:, None], theirs[None])
    near = np.where(overlap >= 0.2, overlap, 0)
    best = near[linear_sum_assignment(near, maximize=True)].sum()
    assert len(set(rows.tolist())) == len(rows) == len(set(columns.tolist()))
    assert near[rows, columns].sum() == pytest.approx(best)


@pytest.mark.parametrize(
    ("name", "options"), [("sort", {"max_age_s": -1.0}), ("sort", {"match_iou": 2.0}), ("deep", {})]
)
def test_settings_that_make_no_sense(name: str, options: dict) -> None:
    with pytest.raises(ConfigError):
        make_tracker(name, **{"max_age_s": 0.3, "match_iou": 0.1, "size": SIZE} | options)


def test_all_are_known() -> None:
    assert {"sort", "byte", "pylot"} <= set(TRACKERS)


@pytest.mark.parametrize("name", ["sort", "byte", "pylot"])
def test_a_score_that_is_no_number_is_left_out_and_counted(name: str) -> None:
    tracker = sort(name=name)
    assert tracker.last_us is None
    tracker.update(found(square(100), score=float("nan")), 0)
    assert (tracker.num_unusable, len(tracker.emitted())) == (1, 0)


def test_nothing_is_matched_over_a_pause_of_minutes() -> None:
    tracker = sort()
    tracker.update(found(square(100)), 0)
    tracker.update(found(square(100)), 600_000_000)
    assert tracker.emitted().ids.tolist() == [2]


def test_slow_detectors_keep_their_tracks() -> None:
    tracker = sort(max_age_s=0.1)
    for step in range(4):
        tracker.update(found(square(100)), 400_000 * step)
    assert tracker.emitted().ids.tolist() == [1]

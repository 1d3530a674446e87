from __future__ import annotations

import numpy as np

from paceline.streaming.frame import Detections
from paceline.streaming.track.history import History
from tests.streaming.track.test_sort import found, sort, square


def seen(step: int) -> Detections:
    return found(square(100 + 7 * step), square(400 - 5 * step, 300))


def test_late_results_end_where_results_in_order_do() -> None:
    in_order, late = sort(), History(sort())
    for step in range(9):
        in_order.update(seen(step), 100_000 * step)
    for step in (0, 2, 1, 3, 6, 5, 4, 8, 7):
        late.update(seen(step), 100_000 * step)
    ours, theirs = late.tracks(1_000_000), in_order.tracks(1_000_000)
    np.testing.assert_allclose(ours.boxes, theirs.boxes)
    assert ours.ids.tolist() == theirs.ids.tolist()
    assert late.last_us == 800_000


def test_what_is_far_too_late_is_counted_and_left_out() -> None:
    late = History(sort(max_age_s=9.0))
    late.update(seen(0), 5_000_000)
    before = late.emitted()
    late.update(seen(30), 2_900_000)
    assert late.num_too_late == 1
    assert np.array_equal(late.emitted().boxes, before.boxes)


def test_a_copy_has_its_own_past() -> None:
    late = History(sort())
    late.update(seen(0), 0)
    late.update(seen(2), 200_000)
    other = late.copy()
    other.update(seen(1), 100_000)
    assert late.emitted().ids.tolist() == other.emitted().ids.tolist()
    late.tune(max_age_s=0.0, match_iou=0.1)
    late.update(found(), 300_000)
    assert len(late.emitted()) == 0
    assert len(other.emitted()) == 2


def test_copies_may_go_back_to_the_same_moment() -> None:
    late = History(sort())
    late.update(seen(0), 0)
    late.update(seen(2), 200_000)
    other = late.copy()
    other.update(seen(1), 100_000)
    late.update(seen(1), 100_000)
    assert np.array_equal(late.emitted().boxes, other.emitted().boxes)


def test_settings_outlive_a_late_result() -> None:
    late = History(sort(max_age_s=5.0))
    late.update(seen(0), 0)
    late.update(seen(2), 200_000)
    late.tune(max_age_s=0.0, match_iou=0.1)
    late.update(seen(1), 100_000)
    late.update(found(), 300_000)
    assert len(late.emitted()) == 0

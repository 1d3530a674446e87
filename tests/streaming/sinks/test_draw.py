from __future__ import annotations

import numpy as np
import pytest

from paceline.streaming.frame import Tracks, Truth
from paceline.streaming.sinks.draw import colour_of, draw

GREY = np.full((120, 160, 3), 90, np.uint8)


def tracks(*boxes: tuple[float, float, float, float], age_us: int = 0, class_index: int = 0) -> Tracks:
    count = len(boxes)
    return Tracks(
        np.array(boxes, float).reshape(-1, 4), np.arange(count) + 3, np.ones(count), np.full(count, class_index),
        np.full(count, age_us), np.zeros(count),
    )  # fmt: skip


def test_a_box_is_drawn_in_its_identitys_colour_on_a_copy() -> None:
    before = GREY.copy()
    drawn = draw(GREY, tracks((40, 60, 90, 100)))
    np.testing.assert_array_equal(GREY, before)
    assert drawn.shape == GREY.shape
    assert tuple(drawn[100, 70]) == colour_of(3)
    assert tuple(drawn[80, 70]) == (90, 90, 90)
    assert colour_of(3) != colour_of(4)


def test_nothing_to_say_changes_nothing() -> None:
    np.testing.assert_array_equal(draw(GREY, Tracks()), GREY)


def test_configuration_and_age_stand_on_top() -> None:
    named = draw(GREY, Tracks(), configuration="small", age_us=80_000)
    assert (named[:12] != 90).any()
    assert (named[40:] == 90).all()
    assert (draw(GREY, Tracks(), configuration="small", age_us=90_000) != named).any()


def test_a_box_not_seen_lately_tells_its_age() -> None:
    assert (draw(GREY, tracks((40, 60, 90, 100), age_us=700_000)) != draw(GREY, tracks((40, 60, 90, 100)))).any()


def test_truth_is_white_without_what_is_ignored() -> None:
    boxes = np.array([[10, 30, 30, 50], [100, 30, 130, 50]], float)
    truth = Truth(boxes, np.arange(2), np.zeros(2, int), np.ones(2), np.array([False, True]))
    drawn = draw(GREY, Tracks(), truth=truth)
    assert tuple(drawn[30, 20]) == (255, 255, 255)
    assert tuple(drawn[30, 110]) == (90, 90, 90)


@pytest.mark.parametrize(
    "box", [(-500, -500, -400, -400), (1e7, 0, 2e7, 9), (-5, -5, 500, 500), (9, 9, 9, 9), (50, 50, 40, 40)]
)
def test_boxes_out_of_the_frame_do_no_harm(box: tuple[float, float, float, float]) -> None:
    assert draw(GREY, tracks(box, class_index=99)).shape == GREY.shape

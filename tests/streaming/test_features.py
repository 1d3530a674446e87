"""What a window of outputs tells of the scene."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from paceline.streaming.features import NAMES, UNKNOWN, window_features
from paceline.streaming.frame import Output, Tracks

SIZE = (1280, 720)


def tracks(boxes: np.ndarray, ids: object = None, *, scores: object = None, ages_us: object = None) -> Tracks:
    count = len(boxes)
    return Tracks(
        np.asarray(boxes, float).reshape(-1, 4),
        np.arange(count) if ids is None else np.asarray(ids),
        np.full(count, 0.8) if scores is None else np.asarray(scores),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64) if ages_us is None else np.asarray(ages_us),
        np.ones(count),
    )


def outputs(shown: list[Tracks], latency_us: int = 70_000) -> list[Output]:
    return [Output(i, 100_000 * i, 100_000 * i + latency_us, 100_000 * i, "c", each) for i, each in enumerate(shown)]


def told(shown: list[Tracks], **options: float) -> dict[str, float]:
    return dict(zip(NAMES, window_features(outputs(shown), SIZE, **options).tolist(), strict=True))


def moving(per_frame: float, side: float = 40.0, num_frames: int = 10) -> list[Tracks]:
    start = np.array([[100.0, 100, 100 + side, 100 + side], [400, 200, 400 + side, 200 + side]])
    return [tracks(start + np.array([per_frame, 0, per_frame, 0]) * frame) for frame in range(num_frames)]


def test_what_stands_still_keeps_its_overlap() -> None:
    found = told(moving(0.0), ego_speed=0.0)
    assert found["overlap_400ms"] == found["kept_400ms"] == found["longevity"] == 1
    assert found["speed_high"] == found["innovation"] == found["once"] == found["ego_speed"] == 0
    assert found["count"] == found["count_late"] == 2
    assert found["age_s"] == pytest.approx(0.07)
    assert found["gap_s"] == pytest.approx(0.1)


def test_what_moves_loses_overlap_the_later_it_is_shown() -> None:
    found = told(moving(8.0))
    assert found["speed_middle"] == pytest.approx(80.0)
    assert found["relative_speed_middle"] == pytest.approx(2.0)
    assert found["overlap_100ms"] == pytest.approx(32 / 48)
    assert found["overlap_100ms"] > found["overlap_200ms"] > found["overlap_300ms"] > found["overlap_400ms"]
    assert (found["kept_100ms"], found["kept_200ms"]) == (1, 0)
    assert found["innovation"] == pytest.approx(0.0, abs=1e-9)  # straight on is foreseen


def test_what_turns_is_not_foreseen() -> None:
    zigzag = [tracks(np.array([[100.0, 100, 140, 140]]) + 12 * (frame % 2)) for frame in range(10)]
    assert told(zigzag)["innovation"] > 0.5


def test_flicker_doubt_and_coasting() -> None:
    box = np.array([[0.0, 0, 20, 20]])
    shown = [tracks(box, [frame], scores=[0.45], ages_us=[100_000 * (frame % 2)]) for frame in range(4)]
    found = told(shown)
    assert (found["once"], found["longevity"], found["doubtful"], found["coasting"]) == (1, 0.25, 1, 0.5)
    assert found["speed_middle"] == found["overlap_100ms"] == UNKNOWN


def test_areas_are_those_of_a_nominal_picture() -> None:
    small = window_features(outputs([tracks(np.array([[0.0, 0, 20, 20]]))]), (1280, 720))
    large = window_features(outputs([tracks(np.array([[0.0, 0, 40, 40]]))]), (2560, 1440))
    place = NAMES.index("area_middle")
    assert small[place] == pytest.approx(large[place]) == pytest.approx(np.log(400))


def test_nothing_shown_is_unknown_and_an_empty_picture_is_not() -> None:
    assert (window_features([], SIZE) == UNKNOWN).all()
    found = told([tracks(np.zeros((0, 4)))] * 3)
    assert found["count"] == 0
    assert found["score"] == found["area_middle"] == UNKNOWN


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            arrays.arrays(np.float64, (4, 4), elements=st.floats(0, 1280)),
            st.permutations([0, 1, 2, 3]),
            st.integers(0, 4),
        ),
        max_size=6,
    )
)
def test_any_outputs_give_finite_numbers(shown: list[tuple[np.ndarray, list[int], int]]) -> None:
    made = [
        tracks(
            np.concatenate((np.minimum(b[:, :2], b[:, 2:]), np.maximum(b[:, :2], b[:, 2:])), 1)[:n],
            np.array(ids, int)[:n],
        )
        for b, ids, n in shown
    ]
    found = window_features(outputs(made), SIZE)
    assert found.shape == (len(NAMES),)
    assert np.isfinite(found).all()

"""From places to boxes."""

from __future__ import annotations

import numpy as np
import pytest

from paceline.streaming.render.camera import FOCAL, HEIGHT, HORIZON, NOMINAL, Camera
from paceline.streaming.render.drive import Drive
from paceline.streaming.render.truth import _widened, behind_houses, boxes_of, visible_shares

CAMERA = Camera.looking(NOMINAL, 0.0)


def test_a_point_on_the_ground_falls_below_the_horizon_with_its_distance() -> None:
    column, row = CAMERA.project(np.array([1.0, 0.0, 10.0]))
    assert column == pytest.approx(640 + FOCAL / 10)
    assert row == pytest.approx(HORIZON + FOCAL * HEIGHT / 10)


def test_looking_up_moves_everything_down() -> None:
    assert Camera.looking(NOMINAL, 0.01).row - CAMERA.row == pytest.approx(FOCAL * 0.01)


def test_boxes_are_cut_at_the_border() -> None:
    wall = np.array([[[x, y, 10.0] for x in (-20.0, 0.0) for y in (0.0, 1.9)]])
    boxes, inside = boxes_of(wall, CAMERA, np.zeros(1))
    assert boxes[0, 0] == 0.0
    assert boxes[0, 2] == pytest.approx(640.0)
    assert inside[0] == pytest.approx(640 / (2 * FOCAL), rel=1e-6)


def test_who_stands_in_front_hides_who_stands_behind() -> None:
    boxes = np.array([[100, 100, 200, 200], [150, 100, 250, 200], [500, 100, 540, 140]], float)
    np.testing.assert_allclose(visible_shares(boxes, np.array([10.0, 20.0, 30.0])), [1.0, 0.5, 1.0])


def test_who_hides_for_a_moment_keeps_his_box() -> None:
    clear = np.array([[1], [0], [0], [1], [0], [0], [0], [0], [1]], bool)
    assert _widened(clear, 3)[:, 0].astype(int).tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 1]


def test_houses_hide_what_is_behind_them() -> None:
    made = Drive(seed=5, regimes=["downtown"])
    right = made.route.layout.right
    far = made.route.junctions[0] + 25.0
    hidden = behind_houses(made.route, far, 0.0, np.array([0.0, right + 30]), np.array([20.0, 30.0]))
    assert hidden.tolist() == [False, True]


def test_boxes_lie_in_the_picture_and_shares_are_shares() -> None:
    for truth in Drive(seed=2, duration_s=5).log.truths:
        assert (truth.boxes >= 0).all()
        assert (truth.boxes <= (*NOMINAL, *NOMINAL)).all()
        assert (truth.boxes[:, 2:] > truth.boxes[:, :2]).all()
        assert ((truth.visible >= 0) & (truth.visible <= 1)).all()
        assert len(np.unique(truth.ids)) == len(truth)

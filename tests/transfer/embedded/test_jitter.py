from __future__ import annotations

import numpy as np
import pytest

from paceline.transfer.embedded.jitter import MASTER_SIZE, PICTURE_SIZE, Jitter, jittered

STILL = Jitter(scale=(0.8, 0.8), shift=0.0, angle=0.0, blur=(0.0, 0.0), contrast=(0.9, 0.9), noise=(0.0, 0.0))


def square(num: int = 1) -> np.ndarray:
    glyphs = np.zeros((num, MASTER_SIZE, MASTER_SIZE), np.uint8)
    glyphs[:, 28:68, 28:68] = 255
    return glyphs


def test_the_same_seed_gives_the_same_pictures_and_another_others() -> None:
    first, again, other = (jittered(square(5), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (5, PICTURE_SIZE, PICTURE_SIZE)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_still_glyph_stays_in_the_middle_in_its_scale() -> None:
    (picture,) = jittered(square(), np.random.default_rng(0), STILL).astype(float)
    ink = np.abs(picture - picture[0, 0]) / 255
    assert ink.max() == pytest.approx(0.9, abs=0.01)
    assert ink.sum() / ink.max() == pytest.approx((40 * 0.8) ** 2, rel=0.03)
    middle = (ink * np.arange(PICTURE_SIZE)).sum() / ink.sum(), (ink.T * np.arange(PICTURE_SIZE)).sum() / ink.sum()
    assert middle == pytest.approx((31.5, 31.5), abs=0.1)


def test_a_shift_moves_to_both_sides_and_ink_may_be_light_or_dark() -> None:
    moved = Jitter(scale=(0.5, 0.5), shift=6.0, angle=0.0, blur=(0.0, 0.0), noise=(0.0, 0.0))
    pictures = jittered(square(40), np.random.default_rng(0), moved).astype(float)
    paper = pictures[:, :1, :1]
    light = pictures[:, 30, 30] > paper[:, 0, 0]
    assert 5 < light.sum() < 35
    ink = np.abs(pictures - paper)
    x = (ink.sum(1) * np.arange(PICTURE_SIZE)).sum(1) / ink.sum((1, 2)) - 31.5
    assert x.min() < -3
    assert x.max() > 3
    assert np.abs(x).max() < 6.2


def test_an_angle_turns() -> None:
    bar = np.zeros((30, MASTER_SIZE, MASTER_SIZE), np.uint8)
    bar[:, 10:86, 46:50] = 255
    turned = jittered(bar, np.random.default_rng(0), Jitter(shift=0.0, angle=20.0, noise=(0.0, 0.0))).astype(float)
    ink = np.abs(turned - turned[:, :1, :1])
    spread = np.sqrt((ink.sum(1) * (np.arange(PICTURE_SIZE) - 31.5) ** 2).sum(1) / ink.sum((1, 2)))
    assert spread.min() < 2
    assert spread.max() > 4

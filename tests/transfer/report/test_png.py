from __future__ import annotations

import io

import numpy as np
from PIL import Image

from paceline.transfer.report.png import MAX_SIDE, heated, png


def test_pictures_are_small_files() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 400, 300), dtype=np.uint8)
    data = png(noise)
    picture = Image.open(io.BytesIO(data))
    assert picture.size == (MAX_SIDE * 3 // 4, MAX_SIDE)
    assert len(data) < 12_000


def test_grey_pictures_stay_exact() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (1, 20, 30), dtype=np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(grey)))), grey[0])


def test_heat_is_orange_where_it_is_and_grey_where_it_is_not() -> None:
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = 1.0
    shown = heated(np.full((1, 4, 4), 100, np.uint8), heat)
    assert shown.shape == (3, 4, 4)
    assert len(set(shown[:, 2, 2].tolist())) == 1
    assert shown[0, 0, 0] > 200 > 60 > shown[2, 0, 0]

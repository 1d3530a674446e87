from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paceline.errors import ConfigError
from paceline.streaming.sources.images import images, pictures_of
from tests.streaming.sources.made import picture, png


def test_pictures_come_in_natural_order_evenly_spaced(tmp_path: Path) -> None:
    for index in (10, 9, 1):
        png(tmp_path / f"{index}.png", index)
    (tmp_path / "notes.txt").write_text("no picture")
    source = images(pictures_of(tmp_path), rate_hz=30)
    frames = list(source)
    assert [frame.capture_us for frame in frames] == [0, 33_333, 66_667]
    for index, frame in zip((1, 9, 10), frames, strict=True):
        np.testing.assert_array_equal(frame.pixels, picture(index))
    assert source.ended == "all was read"


def test_broken_pictures_are_counted_and_the_others_keep_their_numbers(tmp_path: Path) -> None:
    for index in range(5):
        png(tmp_path / f"{index}.png", index)
    (tmp_path / "0.png").write_bytes(b"")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:60])
    (tmp_path / "3.png").write_text("nonsense")
    source = images(pictures_of(tmp_path))
    assert [(frame.index, frame.capture_us) for frame in source] == [(1, 100_000), (4, 400_000)]
    assert sum(source.drops.values()) == 3


def test_another_size_is_rescaled(tmp_path: Path) -> None:
    png(tmp_path / "0.png", 0)
    png(tmp_path / "1.png", 1, size=(128, 96))
    source = images(pictures_of(tmp_path))
    assert [frame.size for frame in source] == [(64, 48)] * 2
    assert sum(source.repairs.values()) == 1


def test_a_folder_without_pictures_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no picture"):
        pictures_of(tmp_path)


def test_a_folder_of_broken_pictures_says_so(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_text("nonsense")
    with pytest.raises(ConfigError, match="none of 1 pictures"):
        images(pictures_of(tmp_path))

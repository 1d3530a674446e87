from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paceline.errors import ResourceError
from paceline.streaming.frame import Tracks
from paceline.streaming.sinks.motchallenge import MotChallengeText, write
from paceline.streaming.sources.motchallenge import read
from tests.streaming.sources.made import sequence


def tracks(*boxes: tuple[float, float, float, float]) -> Tracks:
    count = len(boxes)
    return Tracks(
        np.array(boxes, float).reshape(-1, 4), np.arange(count) + 3, np.full(count, 0.25), np.ones(count, int),
        np.zeros(count, int), np.zeros(count),
    )  # fmt: skip


def test_lines_per_frame_and_none_where_nothing_was_shown(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", (None, tracks((1, 2, 3.5, 6)), tracks(), tracks((0, 0, 1, 1), (1234.5678, 0, 1300, 9))))
    assert (tmp_path / "a.txt").read_text().splitlines() == [
        "2,3,1,2,2.5,4,0.25,-1,-1,-1",
        "4,3,0,0,1,1,0.25,-1,-1,-1",
        "4,4,1234.568,0,65.432,9,0.25,-1,-1,-1",
    ]


def test_live_text_equals_the_other(tmp_path: Path) -> None:
    shown = (tracks((1, 2, 3, 4)), tracks(), tracks((5, 6, 7, 8)))
    write(tmp_path / "a.txt", shown)
    with MotChallengeText(tmp_path / "b.txt") as sink:
        for index, each in enumerate(shown):
            sink.write(index, each)
    assert (tmp_path / "a.txt").read_bytes() == (tmp_path / "b.txt").read_bytes()


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", (tracks((1, 2, 30.25, 40)),))
    line = (tmp_path / "a.txt").read_text().strip().replace("0.25,-1,-1,-1", "1,1,1")
    assert read(sequence(tmp_path / "s", [line])).truths[0].boxes.tolist() == [[1, 2, 30.25, 40]]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="cannot be written"):
        MotChallengeText(tmp_path / "absent" / "a.txt")

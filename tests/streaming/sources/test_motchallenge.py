from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paceline.errors import ConfigError, InvalidRequest
from paceline.streaming.sources.labels import PEDESTRIAN, VEHICLE
from paceline.streaming.sources.motchallenge import open_pictures, read
from tests.streaming.sources.made import png, sequence


def test_reads_boxes_times_and_classes(tmp_path: Path) -> None:
    log = read(sequence(tmp_path / "s", ["1,7,10,20,5,8,1,1,0.5", "3,8,1,2,3,4,1,3,1", "", "1,9,0,0,5,5,1,-1,1"]))
    assert (log.name, log.size) == ("MADE", (64, 48))
    assert log.times_us.tolist() == [0, 50_000, 100_000]
    first, second, third = log.truths
    assert first.boxes.tolist() == [[10, 20, 15, 28], [0, 0, 5, 5]]
    assert (first.ids.tolist(), first.visible.tolist()) == ([7, 9], [0.5, 1])
    assert first.classes.tolist() == [PEDESTRIAN, PEDESTRIAN]
    assert len(second) == 0
    assert third.classes.tolist() == [VEHICLE]


def test_what_is_not_judged_is_left_out_and_distractors_are_ignored(tmp_path: Path) -> None:
    log = read(
        sequence(tmp_path / "s", ["1,1,0,0,5,5,0,1,1", "1,2,0,0,5,5,0,8,1", "1,3,0,0,5,5,1,12,1", "1,4,0,0,5,5,1,9,1"])
    )
    assert log.truths[0].ids.tolist() == [2, 3]
    assert log.truths[0].ignored.tolist() == [True, True]


def test_labels_out_of_the_frame_are_ignored_and_those_across_its_border_stay(tmp_path: Path) -> None:
    lines = [
        "1,1,-50,0,20,20,1,1,1",
        "1,2,-5,-5,20,20,1,1,1",
        "1,3,64,0,9,9,1,1,1",
        "1,4,5,5,0,9,1,1,1",
        "1,5,5,5,-3,9,1,1,1",
    ]
    truth = read(sequence(tmp_path / "s", lines)).truths[0]
    assert truth.ignored.tolist() == [True, False, True, True, True]
    assert truth.boxes[1].tolist() == [-5, -5, 15, 15]


def test_empty_truth_is_a_log_without_objects(tmp_path: Path) -> None:
    log = read(sequence(tmp_path / "s", [], num_frames=4))
    assert [len(truth) for truth in log.truths] == [0] * 4


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("one,1,0,0,5,5,1,1,1", "line 2.*is not frame,id"),
        ("1,1,0,0", "line 2.*is not frame,id"),
        ("1,1,nan,0,5,5,1,1,1", "line 2.*no box"),
        ("1,inf,0,0,5,5,1,1,1", "line 2.*no box"),
        ("4,1,0,0,5,5,1,1,1", "line 2.*not in 1..3"),
        ("0,1,0,0,5,5,1,1,1", "line 2.*not in 1..3"),
        ("1,7,0,0,5,5,1,1,1", "line 2.*twice in frame 1"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        read(sequence(tmp_path / "s", ["1,7,0,0,5,5,1,1,1", line]))


@pytest.mark.parametrize(
    "text", ["", "nonsense", "[Sequence]\nframeRate=0\nseqLength=3\nimWidth=4\nimHeight=4", "[Sequence]\nframeRate=30"]
)
def test_a_garbled_description_is_refused(tmp_path: Path, text: str) -> None:
    folder = sequence(tmp_path / "s", [])
    (folder / "seqinfo.ini").write_text(text)
    with pytest.raises(InvalidRequest, match=r"seqinfo\.ini"):
        read(folder)


def test_a_sequence_without_truth_says_why(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "s", [])
    (folder / "gt" / "gt.txt").unlink()
    with pytest.raises(ConfigError, match="training sequences only"):
        read(folder)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "s", [])
    (folder / "gt" / "gt.txt").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(InvalidRequest, match="is not text"):
        read(folder)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet="0123456789,.-einfa \n", max_size=120))
def test_any_text_is_read_or_refused(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "any"
    if not folder.exists():
        sequence(folder, [])
    (folder / "gt" / "gt.txt").write_text(text)
    try:
        log = read(folder)
    except InvalidRequest:
        return
    assert all(np.isfinite(truth.boxes).all() for truth in log.truths)


def test_pictures_run_at_the_described_rate(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "s", [])
    for index in range(3):
        png(folder / "img1" / f"{index + 1:06}.png", index)
    assert [frame.capture_us for frame in open_pictures(folder)] == [0, 50_000, 100_000]

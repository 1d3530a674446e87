from __future__ import annotations

from pathlib import Path

import pytest

from paceline.errors import ConfigError, PacelineError
from paceline.streaming.sources import open_log, open_logs, open_source
from paceline.streaming.sources.camera import Camera
from paceline.streaming.sources.source import Paced
from tests.streaming.sources.made import SMALL, annotations, png, sequence, tfrecord, video, waymo_frame


def test_each_kind_by_its_name(tmp_path: Path) -> None:
    pytest.importorskip("av")
    png(tmp_path / "pictures" / "1.png")
    png(sequence(tmp_path / "s", []) / "img1" / "1.png")
    annotations(tmp_path / "val.json")
    png(tmp_path / "root" / "val" / "first" / "0.png")
    for text in (
        str(video(tmp_path / "a.mp4")),
        str(tmp_path / "pictures"),
        str(tmp_path / "s"),
        f"{tmp_path}/val.json?pictures={tmp_path}/root#first",
        "render:7?seconds=1&size=64x48&light=night",
    ):
        source = open_source(text)
        assert source.size == SMALL
        assert next(iter(source)).capture_us == 0
        source.close()


def test_a_rendered_drive_is_the_same_with_pictures_and_with_truth() -> None:
    text = "render:7?seconds=1&size=64x48&rate=15"
    frames = list(open_source(text))
    assert [frame.capture_us for frame in frames] == open_log(text).times_us.tolist()


def test_paced_wraps_recordings_only() -> None:
    pytest.importorskip("av")
    assert isinstance(open_source("render:1", paced=True), Paced)
    assert isinstance(open_source("rtsp://me:secret@nowhere.invalid/1", paced=True), Camera)


@pytest.mark.parametrize(
    "text",
    ["nothere.mp4", "", "render:", "render:x", "render:1?second=3", "render:1?seconds=-1", "render:1?size=8", "render:1?light=noon",
     "render:1?rate=11", "webcam:", "webcam:front", "val.json", "val.json?pictures=x"],
)  # fmt: skip
def test_wrong_names_say_what_to_write(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(ConfigError):
        list(open_source(text))


@pytest.mark.parametrize("rate_hz", [0, -1, float("nan"), 1e9])
def test_wrong_rates_are_refused(rate_hz: float) -> None:
    with pytest.raises(ConfigError, match="rate_hz"):
        open_source("render:1", rate_hz=rate_hz)


def test_a_camera_keeps_its_own_time() -> None:
    with pytest.raises(ConfigError, match="keeps its own time"):
        open_source("rtsp://nowhere.invalid/1", rate_hz=10)


def test_logs_by_name(tmp_path: Path) -> None:
    path = annotations(tmp_path / "val.json")
    assert open_log(f"{path}#second").name == "second"
    with pytest.raises(ConfigError, match=r"holds 2 logs.*first, second"):
        open_log(str(path))
    with pytest.raises(ConfigError, match="known: first, second"):
        open_log(f"{path}#third")


def test_a_folder_of_logs(tmp_path: Path) -> None:
    sequence(tmp_path / "one", [])
    tfrecord(tmp_path / "two.tfrecord", [waymo_frame(5, [])])
    assert [log.name for log in open_logs(str(tmp_path))] == ["MADE", "drive-1"]


def test_what_holds_no_truth_says_so(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    for text in (str(tmp_path), str(tmp_path / "notes.txt"), str(tmp_path / "absent")):
        with pytest.raises(PacelineError):
            open_log(text)

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pytest

from paceline.errors import InvalidRequest
from paceline.streaming.sources.labels import CYCLIST, PEDESTRIAN, VEHICLE
from paceline.streaming.sources.waymo import WaymoPictures, read, read_json_lines
from tests.streaming.sources.made import field, picture, tfrecord, waymo_frame, waymo_label

START = 1_550_000_000_000_000
CAR = waymo_label((20.0, 30.0), (10.0, 6.0), 1, "car-a")


def jpeg(index: int) -> bytes:
    from PIL import Image

    file = BytesIO()
    Image.fromarray(picture(index)).save(file, "JPEG")
    return file.getvalue()


def test_reads_the_front_camera(tmp_path: Path) -> None:
    walker, sign, rider = (
        waymo_label((9.0, 9.0), (2.0, 4.0), kind, name) for kind, name in ((2, "w"), (3, "s"), (4, "r"))
    )
    frames = [
        waymo_frame(START, [CAR]),
        waymo_frame(START + 99_970, [walker, sign, rider, CAR], speed=10.0),
        waymo_frame(START + 200_000, []),
    ]
    log = read(tfrecord(tmp_path / "a.tfrecord", frames))
    assert (log.name, log.size, log.tags) == ("drive-1", (64, 48), ("day", "location_sf", "sunny"))
    assert log.times_us.tolist() == [0, 99_970, 200_000]
    assert log.ego_speed is not None
    assert log.ego_speed.tolist() == pytest.approx([5, 10, 5])
    first, second, third = log.truths
    assert first.boxes.tolist() == [[15, 27, 25, 33]]
    assert second.classes.tolist() == [PEDESTRIAN, CYCLIST, VEHICLE]
    assert second.ids.tolist() == [1, 2, 0]
    assert len(third) == 0


def test_labels_out_of_the_frame_are_ignored(tmp_path: Path) -> None:
    away = waymo_label((-30.0, 10.0), (10.0, 10.0), 1, "away")
    log = read(tfrecord(tmp_path / "a.tfrecord", [waymo_frame(START, [CAR, away])]))
    assert log.truths[0].ignored.tolist() == [False, True]


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        ([], "holds no frame"),
        ([waymo_frame(START, []), waymo_frame(START, [])], "do not rise"),
        ([b"\x07\x07\x07"], "record 0"),
        ([waymo_frame(START, [waymo_label((float("nan"), 1.0), (1.0, 1.0), 1, "x")])], "no box"),
        ([field(1, b"\xff\xff")], "record 0"),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, frames: list[bytes], complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        read(tfrecord(tmp_path / "a.tfrecord", frames))


def test_truth_with_a_damaged_record_is_refused(tmp_path: Path) -> None:
    path = tfrecord(tmp_path / "a.tfrecord", [waymo_frame(START, [CAR])])
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    with pytest.raises(InvalidRequest, match="check sum is wrong"):
        read(path)


def test_pictures_step_over_damage_and_end_with_a_reason(tmp_path: Path) -> None:
    frames = [waymo_frame(START + 100_000 * index, [], jpeg=jpeg(index)) for index in range(5)]
    frames[1] = waymo_frame(START + 100_000, [], jpeg=b"no picture")
    path = tfrecord(tmp_path / "a.tfrecord", frames)
    data = bytearray(path.read_bytes())
    data[sum(len(frame) + 16 for frame in frames[:2]) + 50] ^= 1
    path.write_bytes(data[:-10])
    source = WaymoPictures(path)
    assert [(frame.index, frame.capture_us) for frame in source] == [(0, 0), (3, 300_000)]
    assert sum(source.drops.values()) == 3
    assert "cut off" in source.ended


def line(**content: object) -> str:
    return json.dumps(content)


BOX = {"bbox": {"xmn": 1, "xmx": 11, "ymn": 2, "ymx": 8}, "label": "vehicle", "id": 4, "confidence": 1.0}


def test_the_authors_lines(tmp_path: Path) -> None:
    path = tmp_path / "S1.jsonl"
    path.write_text(
        "\n".join(
            [
                line(content_type="gt_metadata"),
                line(
                    content_type="ground_truth",
                    runtime=0,
                    timestamp=0,
                    obstacles=[BOX, {**BOX, "label": "sign", "id": 5}],
                ),
                line(content_type="ground_truth", runtime=0, timestamp=100, obstacles=[]),
            ]
        )
    )
    log = read_json_lines(path)
    assert (log.name, log.times_us.tolist()) == ("S1", [0, 100_000])
    assert log.truths[0].boxes.tolist() == [[1, 2, 11, 8]]
    assert log.truths[0].ids.tolist() == [4]


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([], "holds no frame"),
        (["{"], "line 1"),
        ([line(content_type="frame_prediction", timestamp=0, obstacles=[])], "line 1.*truth has"),
        ([line(content_type="ground_truth", timestamp=0, obstacles=[{"bbox": [1, 2]}])], "line 1"),
        ([line(content_type="ground_truth", timestamp=0)] * 2, "do not rise"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, lines: list[str], complaint: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(InvalidRequest, match=complaint):
        read_json_lines(path)

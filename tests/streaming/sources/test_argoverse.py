from __future__ import annotations

from pathlib import Path

import pytest

from paceline.errors import ConfigError, InvalidRequest
from paceline.streaming.sources.argoverse import open_pictures, read
from paceline.streaming.sources.labels import PEDESTRIAN, VEHICLE
from tests.streaming.sources.made import annotations, png


def test_reads_sequences_in_the_order_of_their_pictures(tmp_path: Path) -> None:
    first, second = read(annotations(tmp_path / "val.json"))
    assert (first.name, second.name, first.size) == ("first", "second", (64, 48))
    assert first.times_us.tolist() == [0, 33_333]
    car, person = first.truths
    assert (car.boxes.tolist(), car.ids.tolist(), car.classes.tolist()) == ([[5, 6, 15, 26]], [3], [VEHICLE])
    assert (person.classes.tolist(), person.ignored.tolist()) == ([PEDESTRIAN], [True])
    assert [len(truth) for truth in second.truths] == [0, 0]


def test_objects_without_identity_are_one_each(tmp_path: Path) -> None:
    boxes = [
        {"image_id": 10, "category_id": 2, "bbox": [1, 1, 5, 5]},
        {"image_id": 10, "category_id": 2, "bbox": [9, 9, 5, 5]},
    ]
    ids = read(annotations(tmp_path / "val.json", annotations=boxes))[0].truths[0].ids
    assert len(set(ids.tolist())) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"annotations": [{"image_id": 10, "category_id": 2, "bbox": [1, 2, 3]}]},
        {"annotations": [{"image_id": 10, "category_id": 99, "bbox": [1, 2, 3, 4]}]},
        {"images": [{"id": 1, "sid": 7, "fid": 0, "name": "a", "width": 4, "height": 4}]},
        {"images": [{"id": i, "sid": 0, "fid": 0, "name": "a", "width": 4, "height": 4} for i in range(2)]},
        {"images": "none"},
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match=r"val\.json"):
        read(annotations(tmp_path / "val.json", **changes))


def test_nonsense_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"[1, 2", b"\xff\xfe", b"{}"):
        (tmp_path / "val.json").write_bytes(content)
        with pytest.raises(InvalidRequest, match="annotation"):
            read(tmp_path / "val.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        read(tmp_path / "absent.json")


def test_pictures_of_one_sequence(tmp_path: Path) -> None:
    path = annotations(tmp_path / "val.json")
    png(tmp_path / "val" / "first" / "0.png")
    source = open_pictures(path, "first", tmp_path)
    assert [frame.capture_us for frame in source] == [0]
    assert sum(source.drops.values()) == 1
    with pytest.raises(ConfigError, match="known: first, second"):
        open_pictures(path, "third", tmp_path)

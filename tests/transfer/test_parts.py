"""Parts of a folder: as it has them, or split off; and a record by which pictures are known again, wherever they lie."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from paceline.errors import ConfigError, ModelError
from paceline.transfer.backbone.backbone import Preprocessing
from paceline.transfer.fit.history import History
from paceline.transfer.parts import known_parts, read_parts
from paceline.transfer.record import read_record, record_of, write_record
from tests.transfer.drawn import draw_folder

SMALL = Preprocessing(size=16, resize=16, mean=(0.5,), std=(0.5,))


def sizes(parts: object) -> dict[str, int]:
    return {name: len(pictures) for name, pictures in parts.pictures.items()}  # type: ignore[attr-defined]


def test_a_folder_of_classes_is_split_in_three(tmp_path: Path) -> None:
    parts = read_parts(draw_folder(tmp_path, 10), SMALL, val=0.2, test=0.2)
    assert sizes(parts) == {"train": 24, "val": 8, "test": 8}
    assert sizes(read_parts(tmp_path, SMALL, val=0.2, test=0.0)) == {"train": 32, "val": 8}
    assert not set(parts["train"].paths) & set(parts["test"].paths)


def test_a_split_that_is_there_is_kept(tmp_path: Path) -> None:
    draw_folder(tmp_path / "train", 10)
    draw_folder(tmp_path / "test", 3, seed=1)
    assert sizes(read_parts(tmp_path, SMALL, val=0.2)) == {"train": 32, "val": 8, "test": 12}
    draw_folder(tmp_path / "val", 2, seed=2)
    assert sizes(read_parts(tmp_path, SMALL, val=0.2)) == {"train": 40, "val": 8, "test": 12}


def test_copies_of_test_pictures_are_not_learned(tmp_path: Path) -> None:
    draw_folder(tmp_path / "train", 10)
    draw_folder(tmp_path / "test", 3, seed=1)
    shutil.copy(tmp_path / "test" / "disc" / "006.png", tmp_path / "train" / "disc" / "copy.png")
    parts = read_parts(tmp_path, SMALL, val=0.2)
    assert [skipped.path.name for skipped in parts.skipped] == ["copy.png"]


@pytest.mark.parametrize(("val", "test"), [(0.0, 0.1), (0.6, 0.4), (-0.1, 0.1), (0.1, float("nan"))])
def test_shares_that_leave_nothing_are_refused(val: float, test: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="val must be > 0"):
        read_parts(tmp_path, SMALL, val=val, test=test)


def test_a_record_knows_pictures_that_have_moved(tmp_path: Path) -> None:
    images = draw_folder(tmp_path / "images", 10)
    parts = read_parts(images, SMALL, val=0.2, test=0.2)
    write_record(tmp_path / "adapter", record_of(parts.pictures, images, "embedded", History()))
    (images / "disc").rename(tmp_path / "held")
    images.rename(tmp_path / "moved")
    (tmp_path / "held").rename(tmp_path / "moved" / "disc")
    draw_folder(tmp_path / "moved", 12, seed=5)  # the first 10 numbers of each class are overwritten
    record = read_record(tmp_path / "adapter")
    assert record is not None
    assert record.base == "embedded"
    known = known_parts(tmp_path / "moved", parts["train"].classes, SMALL, record)
    assert known.pictures.keys() <= {"train", "val", "test", "new"}
    shutil.rmtree(tmp_path / "moved")
    again = known_parts(draw_folder(tmp_path / "other", 10), parts["train"].classes, SMALL, record)
    assert sizes(again) == sizes(parts)


def test_without_a_record_all_is_new(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    known = known_parts(draw_folder(tmp_path, 2), ("bars", "cross", "disc", "dot", "square"), SMALL, None)
    assert sizes(known) == {"new": 8}
    assert sorted(set(known["new"].labels.tolist())) == [0, 1, 2, 4]


def test_unknown_classes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="knows no class 'disc'; it knows bars, cross, square"):
        known_parts(draw_folder(tmp_path, 2), ("bars", "cross", "square"), SMALL, None)


def test_a_broken_record_is_a_broken_file(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text('{"base": 3}')
    with pytest.raises(ModelError, match=r"training\.json cannot be read"):
        read_record(tmp_path)

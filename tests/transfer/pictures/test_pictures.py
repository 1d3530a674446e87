from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from paceline.errors import ConfigError
from paceline.transfer.pictures import pictures as module
from paceline.transfer.pictures import pixels
from paceline.transfer.pictures.decode import decode
from paceline.transfer.pictures.folder import Item
from paceline.transfer.pictures.pictures import Pictures, load_pictures, without_copies
from tests.transfer.pictures.drawn import COLOUR, GREY, draw


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    return [Item(draw(tmp_path / f"{seed % 3}/{seed:02}.png", seed), seed % 3) for seed in range(40)]


CLASSES = ("a", "b", "c")


def test_all_are_read_in_order(items: list[Item]) -> None:
    seen: list[tuple[int, int]] = []
    found, skipped = load_pictures(items, CLASSES, COLOUR, lambda done, total: seen.append((done, total)))
    assert skipped == []
    assert seen == [(16, 40), (32, 40), (40, 40)]
    assert len(found) == 40
    assert found.images.shape == (40, 3, 16, 16)
    assert found.labels.tolist() == [item.label for item in items]
    assert found.labels.dtype == np.int64
    assert found.paths == tuple(item.path for item in items)
    assert found.classes == CLASSES
    assert all((image == decode(item.path, COLOUR)).all() for image, item in zip(found.images, items, strict=True))


def test_bad_ones_are_listed_and_leave_no_gap(items: list[Item], tmp_path: Path) -> None:
    bad = {0: "an empty file", 17: "not a picture of a known format", 18: "damaged", 39: "no such file"}
    items[0].path.write_bytes(b"")
    items[17].path.write_bytes(b"hello")
    items[18].path.write_bytes(items[18].path.read_bytes()[:200])
    items[39].path.unlink()
    found, skipped = load_pictures(items, CLASSES, GREY)
    assert [each.path for each in skipped] == [items[row].path for row in bad]
    assert all(each.reason.startswith(reason) for each, reason in zip(skipped, bad.values(), strict=True))
    rest = [item for row, item in enumerate(items) if row not in bad]
    assert found.paths == tuple(item.path for item in rest)
    assert found.labels.tolist() == [item.label for item in rest]
    assert all((image == decode(item.path, GREY)).all() for image, item in zip(found.images, rest, strict=True))


def test_large_sets_lie_in_a_file_and_give_the_same(
    items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _ = load_pictures(items, CLASSES, GREY)
    monkeypatch.setattr(pixels, "MAX_RESIDENT_BYTES", 1000)
    (tmp_path / "room").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "room"))
    mapped, _ = load_pictures(items, CLASSES, GREY)
    assert (mapped.images == plain.images).all()
    assert (mapped.take(np.array([3, 1])).images == plain.images[[3, 1]]).all()
    assert os.listdir(tmp_path / "room") == []


def test_the_number_of_threads_does_not_matter(items: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    sets = []
    for num_threads in (1, 5):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, num=num_threads: set(range(num)))
        sets.append(load_pictures(items, CLASSES, GREY)[0])
    assert (sets[0].images == sets[1].images).all()


def test_none_can_be_read(items: list[Item]) -> None:
    for item in items:
        item.path.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"none of 40 pictures can be read; the first, .*00\.png: an empty file"):
        load_pictures(items, CLASSES, GREY)
    with pytest.raises(ConfigError, match="none of 0 pictures"):
        load_pictures([], CLASSES, GREY)


def test_an_interrupt_ends_the_work(items: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    monkeypatch.setattr(module, "PORTION", 1)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_pictures(items, CLASSES, GREY, interrupt)


def test_some_are_taken(items: list[Item]) -> None:
    found, _ = load_pictures(items, CLASSES, GREY)
    rows = np.array([5, 2, 5])
    some = found.take(rows)
    assert (some.images == found.images[rows]).all()
    assert some.labels.tolist() == [2, 2, 2]
    assert some.paths == (items[5].path, items[2].path, items[5].path)
    assert found.take(np.array([], np.int64)).images.shape == (0, 1, 16, 16)


def of(found: Pictures, *rows: int) -> Pictures:
    return found.take(np.array(rows))


def test_copies_of_what_is_held_out_are_found(tmp_path: Path) -> None:
    items = [
        Item(draw(tmp_path / f"{row}.{suffix}", seed), 0)
        for row, (seed, suffix) in enumerate([(1, "png"), (2, "png"), (1, "bmp")])
    ]
    found, _ = load_pictures(items, CLASSES, GREY)
    digests = found.digests()
    assert digests[0] == digests[2] != digests[1]
    kept, skipped = without_copies(of(found, 0, 1), of(found, 2))
    assert kept.paths == (items[1].path,)
    assert [(each.path, each.reason) for each in skipped] == [(items[0].path, f"the same picture as {items[2].path}")]
    train = of(found, 1)
    assert without_copies(train, of(found, 0)) == (train, [])
    with pytest.raises(ConfigError, match="each of 1 pictures is held out too"):
        without_copies(of(found, 0), of(found, 2))

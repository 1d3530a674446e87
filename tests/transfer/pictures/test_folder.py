from __future__ import annotations

import os
from pathlib import Path

import pytest

from paceline.errors import ConfigError
from paceline.transfer.pictures.folder import Item, Listing, list_pictures


def touch(root: Path, *names: str) -> Path:
    """Listing opens no picture, so an empty file will do. A name that ends in / is a folder."""
    for name in names:
        path = root / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.touch()
    return root


def reasons(listing: Listing, root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): reason for path, reason in listing.skipped}


def test_a_folder_per_class(tmp_path: Path) -> None:
    touch(tmp_path, "wren/b.png", "wren/a.JPG", "robin/x.webp")
    listing = list_pictures(tmp_path)
    assert listing.classes == ("robin", "wren")
    assert listing.splits == {
        "all": (Item(tmp_path / "robin/x.webp", 0), Item(tmp_path / "wren/a.JPG", 1), Item(tmp_path / "wren/b.png", 1))
    }
    assert listing.skipped == ()


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_a_split_on_disk(tmp_path: Path, val: str) -> None:
    touch(tmp_path, "train/a/1.png", "train/b/1.png", f"{val}/b/2.png", "test/a/3.png")
    listing = list_pictures(tmp_path)
    assert listing.classes == ("a", "b")
    assert {name: [item.label for item in items] for name, items in listing.splits.items()} == {
        "train": [0, 1],
        "val": [1],
        "test": [0],
    }


def test_train_alone_and_an_empty_val(tmp_path: Path) -> None:
    listing = list_pictures(touch(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/"))
    assert list(listing.splits) == ["train"]
    assert reasons(listing, tmp_path) == {"val/a": "a folder without pictures"}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert list_pictures(touch(tmp_path, "train/1.png", "plane/1.png")).classes == ("plane", "train")


def test_nothing_is_left_out_unsaid(tmp_path: Path) -> None:
    touch(
        tmp_path, "a/1.png", "b/1.png", "a/notes.txt", "a/README", "a/.DS_Store", "a/Thumbs.db", ".git/x.png", "empty/"
    )
    touch(tmp_path, "loose.png", "b/docs/readme.txt", "__MACOSX/a/._1.png")
    os.mkfifo(tmp_path / "a/pipe.png")
    os.symlink("nowhere.png", tmp_path / "a/broken.png")
    os.symlink("circle.png", tmp_path / "a/circle.png")
    os.symlink("..", tmp_path / "a/up")
    os.symlink(".", tmp_path / "self")
    listing = list_pictures(tmp_path)
    assert listing.classes == ("a", "b")
    assert len(listing.splits["all"]) == 2
    assert reasons(listing, tmp_path) == {
        ".git": "hidden",
        "__MACOSX": "hidden",
        "a/.DS_Store": "hidden",
        "a/Thumbs.db": "hidden",
        "a/README": "not a picture by its name",
        "a/notes.txt": "not a picture by its name, which ends in '.txt'",
        "a/pipe.png": "not a regular file",
        "a/broken.png": "a link that leads to no file",
        "a/circle.png": "a link that leads to no file",
        "a/up": "a link back to a folder that holds it",
        "self": "a link back to a folder that holds it",
        "b/docs": "a folder without pictures",
        "empty": "a folder without pictures",
        "loose.png": "lies beside the folders, so it has no class",
    }


def test_strays_of_a_split_are_listed(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png", "train/b/1.png", "train/loose.png", "train/notes.txt", "list.csv")
    assert reasons(list_pictures(tmp_path), tmp_path) == {
        "train/loose.png": "lies beside the class folders, so it has no class",
        "train/notes.txt": "not a picture by its name, which ends in '.txt'",
        "list.csv": "not a picture by its name, which ends in '.csv'",
    }


def test_links_to_pictures_and_to_folders_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "store/1.png", "birds/b/1.png", "birds/a/")
    os.symlink(tmp_path / "store/1.png", tmp_path / "birds/a/1.png")
    os.symlink(tmp_path / "store", tmp_path / "birds/c")
    assert [
        item.path.relative_to(tmp_path / "birds").as_posix() for item in list_pictures(tmp_path / "birds").splits["all"]
    ] == [
        "a/1.png",
        "b/1.png",
        "c/1.png",
    ]


def test_one_folder_cannot_be_two_classes(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/1.png")
    os.symlink("a", tmp_path / "c")
    with pytest.raises(ConfigError, match=r"c and .*a are the same folder"):
        list_pictures(tmp_path)


def test_a_class_needs_a_name_that_can_be_written(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png")
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        list_pictures(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "holds no folders"),
        (("1.png", "2.png"), "holds 2 pictures but no folders"),
        (("a/1.png", "b/"), "only one class, 'a'"),
        (("a/notes.txt", "b/"), "no pictures in 2 folders"),
        (("a/1.png", "b/2019/may/1.png"), "2019 lies below the class folder 'b'"),
        (("val/a/1.png", "test/a/1.png"), "a split needs train/"),
        (("train/a/1.png", "train/b/1.png", "extra/a/1.png"), "'extra' lies beside train"),
        (("train/a/1.png", "train/b/1.png", "val/c/1.png"), "val has classes that train lacks: c"),
        (("train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/a/1.png"), "holds val twice"),
        (("train/a/1.png", "train/b/x/1.png"), "x lies below the class folder 'b'"),
    ],
)
def test_what_could_be_meant_in_two_ways_is_an_error(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        list_pictures(touch(tmp_path, *names))


def test_no_folder(tmp_path: Path) -> None:
    touch(tmp_path, "file.png")
    for path in (tmp_path / "missing", tmp_path / "file.png"):
        with pytest.raises(ConfigError, match="is not a folder"):
            list_pictures(path)


def test_a_closed_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConfigError, match="cannot be read \\(Permission denied\\)"):
        list_pictures(tmp_path)

"""Which pictures a folder holds, and of which class each is.

Either one folder per class, ``birds/robin/1.jpg``, or the same below ``train/``, ``val/`` and ``test/``, of which the last
two may be missing. What is left out is listed with the reason; what could be meant in two ways is an error.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from paceline.errors import ConfigError

_JPEG = (".jpeg", ".jpg", ".jpe", ".jfif")
_PPM = (".pbm", ".pgm", ".pnm", ".ppm")
SUFFIXES: Final = frozenset((*_JPEG, *_PPM, ".avif", ".bmp", ".gif", ".png", ".tif", ".tiff", ".webp"))
PARTS: Final = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
# What operating systems leave without a leading dot.
LITTER: Final = frozenset(("__MACOSX", "Thumbs.db", "desktop.ini"))


class Item(NamedTuple):
    """A picture and the index of its class."""

    path: Path
    label: int


class Skipped(NamedTuple):
    """A file or folder that is left out."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """``splits`` has the key "all", or "train" and perhaps "val" and "test"; items are in the order of their paths."""

    classes: tuple[str, ...]
    splits: dict[str, tuple[Item, ...]]
    skipped: tuple[Skipped, ...]


class _Contents(NamedTuple):
    """What lies in one folder, by name."""

    folders: list[Path]
    pictures: list[Path]
    skipped: list[Skipped]


def list_pictures(folder: Path) -> Listing:
    """Lists a folder without opening a picture. The classes are the names of their folders, sorted.

    Raises ConfigError if there are no pictures, fewer than two classes, folders below a class, or a class that only
    ``val`` or ``test`` has.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder: give one with a folder of pictures per class")
    root = _look_into(folder)
    skipped = [*root.skipped, *(Skipped(path, "lies beside the folders, so it has no class") for path in root.pictures)]
    parts = {name: _classes(each, skipped) for name, each in _parts(folder, root, skipped).items()}
    first = next(iter(parts))  # all, or train
    classes = tuple(sorted(parts[first]))
    if len(classes) < 2:
        found = f"only one class, {classes[0]!r}" if classes else f"no pictures in {len(root.folders)} folders"
        raise ConfigError(f"{folder}: {found}; give at least two folders, one per class, with pictures in them")
    for name, pictures in parts.items():
        unknown = sorted(pictures.keys() - parts[first].keys())
        if unknown:
            raise ConfigError(f"{folder}: {name} has classes that {first} lacks: {', '.join(unknown[:5])}")
    splits = {name: _items(classes, pictures) for name, pictures in parts.items() if pictures}
    return Listing(classes, splits, tuple(skipped))


def _items(classes: tuple[str, ...], pictures: dict[str, list[Path]]) -> tuple[Item, ...]:
    return tuple(Item(path, label) for label, name in enumerate(classes) for path in pictures.get(name, ()))


def _parts(folder: Path, root: _Contents, skipped: list[Skipped]) -> dict[str, _Contents]:
    """The folders that hold class folders: the root itself, or those of a split, ``train`` first."""
    if not root.folders:
        found = f"{len(root.pictures)} pictures but no folders" if root.pictures else "no folders"
        raise ConfigError(f"{folder}: holds {found}; put the pictures into one folder per class")
    names = {path.name for path in root.folders}
    if "train" not in names or not any(map(_holds_pictures, _look_into(folder / "train").folders)):
        return {"all": root}
    if unknown := sorted(names - PARTS.keys()):
        raise ConfigError(f"{folder}: {unknown[0]!r} lies beside train, where only val and test may lie: move it away")
    parts: dict[str, _Contents] = {}
    for name, part in PARTS.items():
        if name not in names:
            continue
        if part in parts:
            raise ConfigError(f"{folder}: holds {part} twice, the second time as {name!r}: remove one")
        parts[part] = contents = _look_into(folder / name)
        skipped += contents.skipped
        skipped += (Skipped(path, "lies beside the class folders, so it has no class") for path in contents.pictures)
    return parts


def _classes(contents: _Contents, skipped: list[Skipped]) -> dict[str, list[Path]]:
    """Pictures by class; adds to ``skipped`` what is left out."""
    found: dict[str, list[Path]] = {}
    places: dict[str, Path] = {}
    for folder in contents.folders:
        try:
            folder.name.encode()
        except UnicodeEncodeError:
            raise ConfigError(
                f"{os.fsencode(folder)!r}: its name is not UTF-8, so no class can have it: rename it"
            ) from None
        if (twin := places.setdefault(os.path.realpath(folder), folder)) is not folder:
            raise ConfigError(
                f"{folder} and {twin} are the same folder: remove the link, or each picture has two classes"
            )
        inside = _look_into(folder)
        skipped += inside.skipped
        for below in inside.folders:
            if _holds_pictures(below):
                raise ConfigError(
                    f"{below} lies below the class folder {folder.name!r}: move its pictures up, or make it a class of its own; "
                    "a split needs train/, beside val/ and test/"
                )
            skipped.append(Skipped(below, "a folder without pictures"))
        if inside.pictures:
            found[folder.name] = inside.pictures
        else:
            skipped.append(Skipped(folder, "a folder without pictures"))
    return found


def _look_into(folder: Path) -> _Contents:
    contents = _Contents([], [], [])
    try:
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read ({error.strerror or error})") from None
    above = {os.path.realpath(each) for each in (folder, *Path(os.path.realpath(folder)).parents)}
    for entry in ordered:
        path = folder / entry.name
        if _is_hidden(entry.name):
            contents.skipped.append(Skipped(path, "hidden"))
        elif os.path.isdir(path) if entry.is_symlink() else entry.is_dir(follow_symlinks=False):
            if entry.is_symlink() and os.path.realpath(path) in above:
                contents.skipped.append(Skipped(path, "a link back to a folder that holds it"))
            else:
                contents.folders.append(path)
        elif reason := _fault(entry):
            contents.skipped.append(Skipped(path, reason))
        else:
            contents.pictures.append(path)
    return contents


def _fault(entry: os.DirEntry[str]) -> str | None:
    """Why a file cannot be a picture, as far as its name and kind tell."""
    if not (os.path.isfile(entry.path) if entry.is_symlink() else entry.is_file(follow_symlinks=False)):
        return "a link that leads to no file" if entry.is_symlink() else "not a regular file"
    suffix = os.path.splitext(entry.name)[1].lower()
    if suffix not in SUFFIXES:
        return f"not a picture by its name, which ends in {suffix!r}" if suffix else "not a picture by its name"
    return None


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in LITTER


def _holds_pictures(folder: Path) -> bool:
    """Whether a picture lies in it at any depth; links to folders are not followed, so this ends."""
    for _, _, names in os.walk(folder):
        if any(os.path.splitext(name)[1].lower() in SUFFIXES and not _is_hidden(name) for name in names):
            return True
    return False

"""Pictures and labels as a program hands them over: a folder, files, or arrays of pixels."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paceline.errors import ConfigError
from paceline.transfer.labels import encoded, rows_of
from paceline.transfer.parts import Parts, known_parts, read_parts
from paceline.transfer.pictures.decode import UnreadablePicture, fitted
from paceline.transfer.pictures.folder import SUFFIXES, Item, Skipped
from paceline.transfer.pictures.pictures import Pictures, load_pictures
from paceline.transfer.pictures.pixels import allocate
from paceline.transfer.pictures.split import split

if TYPE_CHECKING:
    from paceline.transfer.backbone.backbone import Preprocessing

Given: TypeAlias = str | Path | Sequence[str | Path] | NDArray[Any]


def parts_of(
    given: Any, y: Any, preprocessing: Preprocessing, *, validation: float, seed: int
) -> tuple[Parts, NDArray[Any]]:
    """What to learn from and what to be judged by, "train" and "val", and the classes.

    ConfigError for labels beside a folder, which brings its own, none beside anything else, or a share outside (0, 1).
    """
    if not 0 < validation < 1:
        raise ConfigError(f"validation must be in (0, 1), got {validation}")
    folder = folder_of(given)
    if folder is not None:
        _check_brings_labels(y)
        parts = read_parts(folder, preprocessing, val=validation, test=0.0, seed=seed)
        _warn(parts.skipped)
        return parts, np.array(parts["train"].classes)
    classes, labels = encoded(y)
    names = tuple(map(str, classes.tolist()))
    pictures, skipped = pictures_of(given, preprocessing, labels, names)
    _warn(skipped)
    shares = {"train": 1 - validation, "val": validation}
    rows = split(pictures.labels, shares, seed, pictures.digests(), names)
    return Parts({name: pictures.take(rows[name]) for name in shares}, tuple(skipped)), classes


def labelled(given: Any, y: Any, preprocessing: Preprocessing, classes: NDArray[Any]) -> Pictures:
    """Pictures whose labels are places in ``classes``, -1 where the label is none of them."""
    names = tuple(map(str, classes.tolist()))
    folder = folder_of(given)
    if folder is None:
        pictures, skipped = pictures_of(given, preprocessing, rows_of(y, classes), names)
    else:
        _check_brings_labels(y)
        parts = known_parts(folder, names, preprocessing, None)
        pictures, skipped = parts["new"], list(parts.skipped)
    _warn(skipped)
    return pictures


def _check_brings_labels(y: Any) -> None:
    if y is not None:
        raise ConfigError("y must be left out beside a folder, which brings its own labels")


def _warn(skipped: Sequence[Skipped]) -> None:
    if skipped:
        first = f"{skipped[0].path}: {skipped[0].reason}"
        warnings.warn(f"{len(skipped)} files are left out, the first: {first}; skipped_ lists them", stacklevel=4)


def folder_of(given: Any) -> Path | None:
    """The folder that is meant, if it is one name. ConfigError if there is none by that name."""
    if not isinstance(given, str | Path):
        return None
    folder = Path(given).expanduser()
    if not folder.is_dir():
        found = "is a file: give a list, [file]" if folder.exists() else "is not there"
        raise ConfigError(f"X must be a folder, a list of files or an array; {str(given)!r} {found}")
    return folder


def picture_files(folder: Path) -> list[Path]:
    """All pictures below a folder, by their names, in the order of their paths. ConfigError if there is none."""
    found = sorted(
        Path(where) / name
        for where, _, names in os.walk(folder)
        for name in names
        if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")
    )
    if not found:
        raise ConfigError(f"there is no picture in {folder}")
    return found


def pictures_of(
    given: Any, preprocessing: Preprocessing, labels: NDArray[np.int64] | None = None, classes: tuple[str, ...] = ()
) -> tuple[Pictures, list[Skipped]]:
    """Pictures in their order, with ``labels`` or zeros, and what could not be read.

    ``given`` is a folder, of which all pictures are taken; a sequence of paths; or uint8 [N, H, W] or [N, H, W, C] of 1, 3 or 4
    channels. ConfigError if it is none of these, has no picture, or as many as there are labels.
    """
    folder = folder_of(given)
    files = picture_files(folder) if folder is not None else _files(given)
    num = len(given) if files is None else len(files)
    if labels is not None and len(labels) != num:
        raise ConfigError(f"X holds {num} pictures, y {len(labels)} labels; give one label for each picture")
    labels = np.zeros(num, np.int64) if labels is None else labels
    if files is None:
        return Pictures(
            _pixels(given, preprocessing), labels, classes, tuple(Path(f"#{row}") for row in range(num))
        ), []
    items = [Item(path, int(label)) for path, label in zip(files, labels, strict=True)]
    return load_pictures(items, classes, preprocessing)


def all_pictures_of(given: Any, preprocessing: Preprocessing) -> Pictures:
    """The same where each answer must have its picture. UnreadablePicture for the first that cannot be read."""
    pictures, skipped = pictures_of(given, preprocessing)
    if skipped:
        raise UnreadablePicture(skipped[0].path, skipped[0].reason)
    return pictures


def _files(given: Any) -> list[Path] | None:
    """Paths in a sequence of paths; None if it is an array of pixels."""
    if isinstance(given, np.ndarray) and given.dtype.kind not in "OUS":
        _check_pixels(given)
        return None
    if not isinstance(given, Iterable) or not hasattr(given, "__len__"):
        raise ConfigError(f"X must be a folder, a list of files or an array of pixels, got {type(given).__name__}")
    entries = list(given)
    if not entries:
        raise ConfigError("X holds no picture")
    if not all(isinstance(entry, str | Path) for entry in entries):
        odd = next(entry for entry in entries if not isinstance(entry, str | Path))
        raise ConfigError(
            f"X must hold paths or be an array, uint8 [N, H, W] or [N, H, W, C]; got a list with {type(odd).__name__}"
        )
    return [Path(entry).expanduser() for entry in entries]


def _check_pixels(given: NDArray[Any]) -> None:
    if given.dtype != np.uint8:
        raise ConfigError(f"pixels must be uint8, 0 to 255, got {given.dtype}")
    if given.ndim not in (3, 4) or (given.ndim == 4 and given.shape[3] not in (1, 3, 4)):
        raise ConfigError(f"pixels must be [N, H, W] or [N, H, W, C] with 1, 3 or 4 channels, got {list(given.shape)}")
    if 0 in given.shape:
        raise ConfigError(f"there are no pixels in an array {list(given.shape)}")


def _pixels(given: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """[N, H, W] or [N, H, W, C] -> [N, C, R, R]"""
    side = preprocessing.resize
    made = allocate((len(given), preprocessing.channels, side, side))
    for row, image in enumerate(given):
        plane = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
        made[row] = fitted(Image.fromarray(np.ascontiguousarray(plane)), preprocessing)
    return made

"""The pictures of a folder in parts: to learn from, to judge a training by, and to test it with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from paceline.errors import ConfigError
from paceline.transfer.pictures.folder import Item, Skipped, list_pictures
from paceline.transfer.pictures.pictures import Pictures, load_pictures, without_copies
from paceline.transfer.pictures.pixels import allocate
from paceline.transfer.pictures.split import split
from paceline.transfer.record import PART_NAMES, TrainingRecord, digest_of

if TYPE_CHECKING:
    from paceline.transfer.backbone.backbone import Preprocessing

Progress: TypeAlias = Callable[[int, int], None]  # pictures done, and of all


@dataclass(frozen=True, slots=True)
class Parts:
    """Decoded pictures by part: "train" and "val", "test" perhaps, and "new" for what no record knows."""

    pictures: dict[str, Pictures]
    skipped: tuple[Skipped, ...] = ()

    def __getitem__(self, part: str) -> Pictures:
        return self.pictures[part]

    def __contains__(self, part: str) -> bool:
        return part in self.pictures


def read_parts(
    folder: Path,
    preprocessing: Preprocessing,
    *,
    val: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    progress: Progress | None = None,
) -> Parts:
    """The parts as the folder has them; what it lacks is split off, the same share of each class.

    A folder of classes is split in three (in two where ``test`` is 0). Where there is ``train/`` but no ``val/``, that is split
    off ``train/``; without ``test/`` there is none. Copies of pictures never lie on two sides. Raises ConfigError as
    ``list_pictures`` and ``split`` do, and for shares that leave nothing to learn from.
    """
    if not (0 < val < 1 and 0 <= test < 1 and val + test < 1):
        raise ConfigError(f"val must be > 0, test >= 0, and both together < 1, got {val:g} and {test:g}")
    listing = list_pictures(folder)
    skipped = list(listing.skipped)

    def load(items: tuple[Item, ...]) -> Pictures:
        pictures, unreadable = load_pictures(items, listing.classes, preprocessing, progress)
        skipped.extend(unreadable)
        return pictures

    found = {name: load(items) for name, items in listing.splits.items()}
    if "all" in found:
        return Parts(_divided(found["all"], _shares(val, test), seed), tuple(skipped))
    for held_out in ("test", "val"):
        if held_out in found:
            found["train"], copies = without_copies(found["train"], found[held_out])
            skipped.extend(copies)
    if "val" not in found:
        found |= _divided(found["train"], _shares(val, 0.0), seed)
    return Parts({name: found[name] for name in PART_NAMES if name in found}, tuple(skipped))


def _shares(val: float, test: float) -> dict[str, float]:
    shares = {"train": 1.0 - val - test, "val": val, "test": test}
    return {name: share for name, share in shares.items() if share > 0}


def _divided(pictures: Pictures, shares: Mapping[str, float], seed: int) -> dict[str, Pictures]:
    rows = split(pictures.labels, shares, seed, pictures.digests(), pictures.classes)
    return {name: pictures.take(rows[name]) for name in shares}


def known_parts(
    folder: Path,
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    record: TrainingRecord | None,
    progress: Progress | None = None,
) -> Parts:
    """The pictures of a folder, in the parts that a training had them in; those it has not seen are "new".

    Raises ConfigError if the folder has a class that is not in ``classes``.
    """
    listing = list_pictures(folder)
    items = [_renamed(item, listing.classes, classes, folder) for part in listing.splits.values() for item in part]
    pictures, unreadable = load_pictures(items, classes, preprocessing, progress)
    part_of = {} if record is None else record.part_of()
    names = np.array([part_of.get(digest_of(path), "new") for path in pictures.paths])
    found = {name: pictures.take(np.flatnonzero(names == name)) for name in (*PART_NAMES, "new") if name in names}
    return Parts(found, (*listing.skipped, *unreadable))


def learned_and_held_out(parts: Parts, seed: int) -> tuple[Pictures, Pictures]:
    """What a network may learn from once more, and what it is to be tested with: as in its training, if that knows the pictures."""
    if "train" in parts:
        held_out = next((parts[name] for name in ("test", "new", "val") if name in parts), None)
        if held_out is None:
            raise ConfigError("all of these pictures were learned from; others are needed to test with")
        return parts["train"], held_out
    divided = _divided(joined(list(parts.pictures.values())), {"train": 0.7, "test": 0.3}, seed)
    return divided["train"], divided["test"]


def joined(pictures: Sequence[Pictures]) -> Pictures:
    """All pictures of several parts, one part after another."""
    if len(pictures) == 1:
        return pictures[0]
    images = allocate((sum(map(len, pictures)), *pictures[0].images.shape[1:]))
    np.concatenate([each.images for each in pictures], out=images)
    labels = np.concatenate([each.labels for each in pictures])
    return Pictures(images, labels, pictures[0].classes, tuple(path for each in pictures for path in each.paths))


def _renamed(item: Item, own: tuple[str, ...], classes: tuple[str, ...], folder: Path) -> Item:
    if own[item.label] not in classes:
        known = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
        raise ConfigError(f"{folder}: the adapter knows no class {own[item.label]!r}; it knows {known}")
    return Item(item.path, classes.index(own[item.label]))

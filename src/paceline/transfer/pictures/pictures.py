"""Many pictures, decoded once, in one array."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ConfigError
from paceline.transfer.pictures.decode import UnreadablePicture, decode
from paceline.transfer.pictures.folder import Item, Skipped
from paceline.transfer.pictures.pixels import allocate, digest

if TYPE_CHECKING:
    from paceline.transfer.backbone.backbone import Preprocessing  # needs torch, and decoding does not

MAX_THREADS: Final = 8
PORTION: Final = 16  # pictures that a thread takes at once


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Decoded pictures with their labels, in the order of their paths."""

    images: NDArray[np.uint8]  # [N, C, R, R]
    labels: NDArray[np.int64]  # [N]
    classes: tuple[str, ...]
    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> Pictures:
        """A copy of some. ResourceError if there is no room for it."""
        images = allocate((len(rows), *self.images.shape[1:]))
        for start in range(0, len(rows), 1024):  # in portions: what is taken may be larger than the memory
            images[start : start + 1024] = self.images[rows[start : start + 1024]]
        return Pictures(images, self.labels[rows], self.classes, tuple(self.paths[row] for row in rows))

    def digests(self) -> list[bytes]:
        """One per picture; equal pixels have equal digests."""
        return [digest(image) for image in self.images]


def load_pictures(
    items: Sequence[Item],
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Pictures, list[Skipped]]:
    """Decodes ``items`` in a few threads; the result does not depend on how many. Also says what could not be read.

    ``progress`` is called with the number of pictures done and of all. Raises ConfigError if not one can be read,
    ResourceError if there is no room for the pixels.
    """
    images = allocate((len(items), preprocessing.channels, preprocessing.resize, preprocessing.resize))
    faults: dict[int, str] = {}  # reasons by row

    def decode_from(first: int) -> None:
        for row in range(first, min(first + PORTION, len(items))):
            try:
                images[row] = decode(items[row].path, preprocessing)
            except UnreadablePicture as error:
                faults[row] = error.reason

    with ThreadPoolExecutor(min(MAX_THREADS, len(os.sched_getaffinity(0)))) as pool:
        waiting = [pool.submit(decode_from, first) for first in range(0, len(items), PORTION)]
        try:
            for num_portions, portion in enumerate(waiting, 1):
                portion.result()
                if progress is not None:
                    progress(min(num_portions * PORTION, len(items)), len(items))
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupt does not wait for the rest
    skipped = [Skipped(items[row].path, faults[row]) for row in sorted(faults)]
    if len(skipped) == len(items):
        first_fault = f"; the first, {skipped[0].path}: {skipped[0].reason}" if skipped else ""
        raise ConfigError(f"none of {len(items)} pictures can be read{first_fault}")
    return _kept(images, [row for row in range(len(items)) if row not in faults], items, classes), skipped


def _kept(images: NDArray[np.uint8], rows: list[int], items: Sequence[Item], classes: tuple[str, ...]) -> Pictures:
    """Closes the gaps in place, since a copy may be larger than the memory."""
    for place, row in enumerate(rows):
        if place != row:
            images[place] = images[row]
    labels = np.array([items[row].label for row in rows], np.int64)
    return Pictures(images[: len(rows)], labels, classes, tuple(items[row].path for row in rows))


def without_copies(pictures: Pictures, held_out: Pictures) -> tuple[Pictures, list[Skipped]]:
    """Leaves out of ``pictures`` what ``held_out`` holds too, pixel for pixel, so that no score is learned by heart.

    Raises ConfigError if nothing is left.
    """
    known = dict(zip(held_out.digests(), held_out.paths, strict=True))
    twins = [known.get(each) for each in pictures.digests()]
    skipped = [
        Skipped(path, f"the same picture as {twin}") for path, twin in zip(pictures.paths, twins, strict=True) if twin
    ]
    if not skipped:
        return pictures, []
    if len(skipped) == len(pictures):
        raise ConfigError(f"each of {len(pictures)} pictures is held out too: give other pictures")
    return pictures.take(np.array([row for row, twin in enumerate(twins) if twin is None], np.int64)), skipped

"""Setting pictures aside: the same share of each class, seeded, and never two copies of a picture on two sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ConfigError
from paceline.transfer.pictures.order import shuffled


def split(
    labels: NDArray[np.int64],
    shares: Mapping[str, float],
    seed: int,
    digests: Sequence[bytes] | None = None,
    classes: Sequence[str] = (),
) -> dict[str, NDArray[np.int64]]:
    """Row numbers of each part, ascending; each class is dealt out by itself, so adding a class moves no other picture.

    ``shares`` names the parts and sums to 1. Rows of equal ``digests`` count as one picture and go to one part. ``classes``
    gives names to errors and makes sure that none is missing. Raises ConfigError if a class has fewer different pictures
    than there are parts, since each part gets at least one.

    >>> parts = split(np.array([0] * 8 + [1] * 4), {"train": 0.75, "val": 0.25}, seed=1)
    >>> {name: len(rows) for name, rows in parts.items()}
    {'train': 9, 'val': 3}
    """
    if not shares or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise ConfigError(f"shares must be > 0 and sum to 1, got {dict(shares)}")
    groups = _groups(labels, digests)
    wanted = sorted({*range(len(classes)), *(int(label) for label in np.unique(labels))})
    few = [label for label in wanted if len(groups.get(label, ())) < len(shares)]
    if few or not wanted:
        raise ConfigError(_too_few(few, groups, shares, classes))
    part_of = np.empty(len(labels), np.int64)
    for label in wanted:
        ordered = [groups[label][i] for i in shuffled(len(groups[label]), seed, label)]
        ordered.sort(key=len, reverse=True)  # large ones first, while there is room; the sort keeps the order of equals
        for rows, part in zip(ordered, _deal([len(rows) for rows in ordered], list(shares.values())), strict=True):
            part_of[rows] = part
    return {name: np.flatnonzero(part_of == part) for part, name in enumerate(shares)}


def _groups(labels: NDArray[np.int64], digests: Sequence[bytes] | None) -> dict[int, list[list[int]]]:
    """Rows that must stay together, by class; what has two labels belongs to the class of its first row."""
    if digests is not None and len(digests) != len(labels):
        raise ConfigError(f"{len(digests)} digests were given for {len(labels)} labels")
    together: dict[bytes | int, list[int]] = {}
    for row in range(len(labels)):
        together.setdefault(row if digests is None else digests[row], []).append(row)
    groups: dict[int, list[list[int]]] = {}
    for rows in together.values():
        groups.setdefault(int(labels[rows[0]]), []).append(rows)
    return groups


def _deal(sizes: Sequence[int], shares: Sequence[float]) -> list[int]:
    """The part of each group: the one with most room left, but none stays empty."""
    room = [share * sum(sizes) for share in shares]
    empty = list(range(len(shares)))
    parts = []
    for num_left, size in zip(range(len(sizes), 0, -1), sizes, strict=True):
        part = max(empty if len(empty) == num_left else range(len(room)), key=room.__getitem__)
        room[part] -= size
        if part in empty:
            empty.remove(part)
        parts.append(part)
    return parts


def _too_few(
    few: Sequence[int], groups: Mapping[int, Sequence[object]], shares: Mapping[str, float], classes: Sequence[str]
) -> str:
    if not few:
        return "there are no pictures to split"
    shown = (
        f"{classes[label] if label < len(classes) else label!r} ({len(groups.get(label, ()))})" for label in few[:5]
    )
    return (
        f"each class needs {len(shares)} different pictures, one for each of {', '.join(shares)}; too few: "
        f"{', '.join(shown)}{' ...' if len(few) > 5 else ''}: add pictures or remove the class"
    )

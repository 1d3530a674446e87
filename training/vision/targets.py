"""Writes the clean glyphs of the targets into the package, where pictures are made of them without fonts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from paceline.transfer.embedded.targets import Split, Target, load_target
from training.vision.choice import WEIGHT_NAMES, WEIGHTS
from training.vision.fonts import Face, Package, faces, require
from training.vision.render import render

GLYPHS: Final = "QRSaegyt25"  # where faces differ most: tails, bowls, terminals, ears
TARGETS: Final = ("typefaces", "weights")  # those that are made of fonts


def load(name: str, shots: int, seed: int, split: Split) -> Target:
    """The same pictures as the package's own loader: uint8 [N, 1, 64, 64], labels [N], class names."""
    return load_target(name, shots, seed, split)


def write_masters(packages: Iterable[Package], name: str, folder: Path) -> Path:
    """Writes ``NAME.npz``. ResourceError if a face is not the pinned one."""
    packages = tuple(packages)
    rows = sorted(zip(faces(packages, name), require(packages, name), strict=True), key=lambda row: _order(row[0]))
    path = folder / f"{name}.npz"
    np.savez_compressed(
        path,
        glyphs=np.stack([render(file, GLYPHS) for _, file in rows]),
        classes=np.array(class_names([face for face, _ in rows], name)),
        characters=np.array(GLYPHS),
    )
    return path


def class_names(found: Sequence[Face], name: str) -> list[str]:
    """Families, or the faces' names where a family has many classes."""
    return [face.family if name == "typefaces" else f"{face.family} {face.name}" for face in found]


def _order(face: Face) -> tuple[str, int]:
    """By family; within it from condensed to extended and from thin to black."""
    return face.family, WEIGHT_NAMES[face.family].index(face.name) if face.family in WEIGHTS else 0

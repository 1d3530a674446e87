"""Three sets of small pictures to try a transfer on, drawn anew for any number of shots and any seed; no font is needed.

``typefaces``: which of 20 families; ``weights``: which weight and width within two families; ``procedural``: which kind of beetle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ConfigError
from paceline.transfer.embedded import creatures
from paceline.transfer.embedded.jitter import Grey, jittered

Split: TypeAlias = Literal["train", "val", "test"]
_SPLITS: Final = ("train", "val", "test")
_GLYPHS: Final = ("typefaces", "weights")
NAMES: Final = (*_GLYPHS, "procedural")


class Target(NamedTuple):
    """Pictures of one split."""

    images: Grey  # [N, 1, 64, 64]
    labels: NDArray[np.int64]  # [N], class after class
    classes: tuple[str, ...]


class Masters(NamedTuple):
    """The clean glyphs of which a target's pictures are made."""

    glyphs: Grey  # [K, G, 96, 96]
    classes: tuple[str, ...]
    characters: str  # which G characters


def load_target(name: str, shots: int, seed: int = 0, split: Split = "train") -> Target:
    """``shots`` pictures of each class. ConfigError if there is no such target or split.

    Splits never share a random stream. Train and val differ with the seed; the test pictures are the same for all seeds. In a target of
    glyphs each class has its characters about equally often.

    >>> load_target("typefaces", shots=2).images.shape
    (40, 1, 64, 64)
    """
    if name not in NAMES:
        raise ConfigError(f"there is no target {name!r}; known: {', '.join(NAMES)}")
    if split not in _SPLITS:
        raise ConfigError(f"split must be one of {', '.join(_SPLITS)}, got {split!r}")
    if shots < 1:
        raise ConfigError(f"shots must be at least 1, got {shots}")
    generator = np.random.default_rng((NAMES.index(name), _SPLITS.index(split), 0 if split == "test" else seed))
    if name == "procedural":
        labels = np.arange(len(creatures.CLASSES)).repeat(shots)
        return Target(creatures.creatures(labels, generator)[:, None], labels, creatures.CLASSES)
    masters = read_masters(name)
    num_classes, num_glyphs = masters.glyphs.shape[:2]
    labels = np.arange(num_classes).repeat(shots)
    chosen = np.concatenate([_evenly(num_glyphs, shots, generator) for _ in range(num_classes)])
    return Target(jittered(masters.glyphs[labels, chosen], generator)[:, None], labels, masters.classes)


def read_masters(name: str) -> Masters:
    """The packaged glyphs of ``"typefaces"`` or ``"weights"``."""
    with np.load(Path(__file__).parent / f"{name}.npz") as file:
        return Masters(file["glyphs"], tuple(str(each) for each in file["classes"]), str(file["characters"]))


def _evenly(num_glyphs: int, shots: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Every glyph once in random order, then again, as often as needed: [shots]."""
    rounds = -(-shots // num_glyphs)
    return np.concatenate([generator.permutation(num_glyphs) for _ in range(rounds)])[:shots]

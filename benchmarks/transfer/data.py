"""Pictures of the targets, as training takes them."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from benchmarks.transfer.protocol import Protocol
from paceline.transfer.compare import Data
from paceline.transfer.embedded.targets import Split, Target, load_target
from paceline.transfer.pictures.pictures import Pictures


def pictures(target: Target, name: str) -> Pictures:
    """With paths that say where each comes from."""
    paths = tuple(Path(f"{name}/{row}") for row in range(len(target.labels)))
    return Pictures(target.images, target.labels, target.classes, paths)


@functools.lru_cache(maxsize=4)  # the methods of one seed have the same pictures
def drawn(name: str, shots: int, seed: int, split: Split) -> Pictures:
    return pictures(load_target(name, shots, seed, split), f"{name}/{split}/{seed}")


def data(protocol: Protocol, name: str, shots: int, seed: int) -> Data:
    """To learn from and to choose by as the seed says; to judge by the same for all seeds."""
    return Data(
        train=drawn(name, shots, seed, "train"),
        val=drawn(name, min(shots, protocol.val_shots), seed, "val"),
        test=drawn(name, protocol.test_shots, 0, "test"),
    )


def some(given: Pictures, num: int) -> Pictures:
    """At most ``num`` of them, of all classes about equally many, since they lie class after class."""
    step = max(1, -(-len(given) // num))
    return given.take(np.arange(0, len(given), step))

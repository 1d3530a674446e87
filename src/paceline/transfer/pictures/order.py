"""An order that two numbers decide, the same on every machine and with every version of NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ConfigError


def shuffled(num: int, seed: int, turn: int) -> NDArray[np.int64]:
    """0 .. ``num`` - 1 in the order of this seed and turn. ConfigError if the seed is negative.

    Sorts raw draws, since NumPy keeps those for ever but not what ``Generator.permutation`` makes of them.

    >>> shuffled(5, seed=7, turn=0).tolist()
    [1, 2, 4, 0, 3]
    """
    if seed < 0:
        raise ConfigError(f"a seed must be >= 0, got {seed}")
    draws = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(turn,))).random_raw(num)
    return np.argsort(draws, kind="stable").astype(np.int64)

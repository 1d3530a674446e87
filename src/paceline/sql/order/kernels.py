"""How the compiled loops are made, and the table that several of them look nodes up in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Compiles on first use for the types it meets, without Python's lock; the machine code is kept on disk."""
    return cast(F, numba.njit(cache=True, nogil=True)(function))


@compiled
def num_slots(num_keys: int) -> int:
    """Size of a table for so many keys: a power of two, half of it free."""
    slots = 16
    while slots < 2 * num_keys:
        slots *= 2
    return slots


@compiled
def child(keys: NDArray[np.int64], nodes: NDArray[np.int32], key: int, fresh: int) -> int:
    """The node filed under ``key`` >= 0; ``fresh`` is filed when there is none. Free slots of ``keys`` hold -1."""
    mask = len(keys) - 1
    slot = (key * np.int64(-7046029254386353131) >> np.int64(20)) & mask  # Fibonacci hashing, then the next free slot
    while keys[slot] != -1:
        if keys[slot] == key:
            return nodes[slot]  # type: ignore[no-any-return]
        slot = (slot + 1) & mask
    keys[slot] = key
    nodes[slot] = fresh
    return fresh


@compiled
def find(keys: NDArray[np.int64], nodes: NDArray[np.int32], key: int) -> int:
    """The node filed under ``key``, or -1."""
    mask = len(keys) - 1
    slot = (key * np.int64(-7046029254386353131) >> np.int64(20)) & mask
    while keys[slot] != -1:
        if keys[slot] == key:
            return nodes[slot]  # type: ignore[no-any-return]
        slot = (slot + 1) & mask
    return -1

"""How the compiled loops are made, and the table that several of them look nodes up in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., object])


_LEAN: dict[str, Any] = {"_nrt": False}  # counts no references: faster, and sooner compiled
_PART: dict[str, Any] = {**_LEAN, "forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def compiled(function: F) -> F:
    """Compiles on first use for the types it meets, without Python's lock, and keeps the machine code on disk.

    For loops that make no arrays: each that the compiler must make takes it longer, so callers hand them in.
    """
    return cast(F, numba.njit(cache=True, nogil=True, **_LEAN)(function))


def allocating(function: F) -> F:
    """As ``compiled``, for loops that make arrays."""
    return cast(F, numba.njit(cache=True, nogil=True)(function))


def inner(function: F) -> F:
    """Part of the compiled loops that call it, put into them whole; not to be called from Python."""
    return cast(F, numba.njit(**_PART)(function))


@register_jitable
def num_slots(num_keys: int) -> int:
    """Size of a table for so many keys: a power of two, half of it free."""
    slots = 16
    while slots < 2 * num_keys:
        slots *= 2
    return slots


@inner
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


@inner
def find(keys: NDArray[np.int64], nodes: NDArray[np.int32], key: int) -> int:
    """The node filed under ``key``, or -1."""
    mask = len(keys) - 1
    slot = (key * np.int64(-7046029254386353131) >> np.int64(20)) & mask
    while keys[slot] != -1:
        if keys[slot] == key:
            return nodes[slot]  # type: ignore[no-any-return]
        slot = (slot + 1) & mask
    return -1


def number_rows(codes: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Number of each row among the distinct ones, and where each of those stands first.  # [N, M] -> [N], [D]"""
    slots = np.full(num_slots(len(codes)), -1, np.int32)
    number, first = np.empty(len(codes), np.int32), np.empty(len(codes), np.int64)
    return number, first[: _number_rows(codes, slots, number, first)].copy()


@compiled
def _number_rows(
    codes: NDArray[np.int32], slots: NDArray[np.int32], number: NDArray[np.int32], first: NDArray[np.int64]
) -> int:
    fresh = 0
    for r in range(len(codes)):
        mixed = np.int64(0)
        for f in range(codes.shape[1]):
            mixed = (mixed ^ codes[r, f]) * np.int64(-7046029254386353131)
            mixed ^= (mixed >> np.int64(29)) & np.int64(0x7FFFFFFFF)
        slot = mixed & (len(slots) - 1)
        while slots[slot] >= 0 and not _equal(codes, first[slots[slot]], r):
            slot = (slot + 1) & (len(slots) - 1)
        if slots[slot] < 0:
            slots[slot] = fresh
            first[fresh] = r
            fresh += 1
        number[r] = slots[slot]
    return fresh


@inner
def _equal(codes: NDArray[np.int32], r: int, s: int) -> bool:
    num_equal, num_fields = 0, codes.shape[1]
    while num_equal < num_fields and codes[r, num_equal] == codes[s, num_equal]:
        num_equal += 1
    return num_equal == num_fields  # type: ignore[no-any-return]

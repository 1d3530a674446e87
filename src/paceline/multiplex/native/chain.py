"""Operators of one request in a row, run for many tenants in one call of the library."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_int32, c_int64, c_void_p
from itertools import chain as joined
from typing import Any, Final, TypeAlias, final

import torch
from torch import Tensor

from paceline.multiplex.native import library

_LONG: Final = 1 << 22
"""Products of numbers that take longer than the GIL should be kept (some hundreds of microseconds)."""

Numbers: TypeAlias = "ctypes.Array[c_int32]"


def numbers(items: Sequence[int]) -> Numbers:
    return (c_int32 * len(items))(*items)


_FIRST: Final = numbers((0,))


@final
class Aim:
    """Which slots a program runs for, where they are not known when it is written: set before every launch."""

    def __init__(self, num_slots: int) -> None:
        self.slots = numbers(range(num_slots))


@final
class Chain:
    """``steps`` over buffers, which are the tensors taken, those given and what lies between, in this order.

    ``sizes`` are the floats of each buffer for one row of a request, ``takes`` and ``gives`` the shapes at both ends for one
    row: ``factor`` rows of so many numbers. ``weights`` has of every weight a tensor per slot; nothing is copied but what is
    not contiguous, and all are kept alive. ``aim`` says whose turn it is; None for that of all slots in their order.
    """

    def __init__(
        self,
        steps: Sequence[library.Step],
        sizes: Sequence[int],
        takes: Sequence[tuple[int, ...]],
        gives: Sequence[tuple[int, ...]],
        weights: Sequence[Sequence[Tensor]],
        aim: Aim,
    ) -> None:
        self.takes, self.gives = tuple(takes), tuple(gives)
        self._aim = aim
        self._sizes = tuple(sizes)
        self._weights = [[each.contiguous() for each in column] for column in weights]
        self._num_slots = len(weights[0]) if weights else len(aim.slots)
        self._steps = (library.Step * len(steps))(*steps)
        self._row_sizes = (c_int64 * len(sizes))(*sizes)
        self._table = (c_void_p * (len(weights) * self._num_slots))(
            *[each.data_ptr() for each in joined.from_iterable(self._weights)]
        )
        counts = (len(steps), len(takes) + len(gives), len(sizes), self._num_slots)
        self._chain = library.Chain(
            *counts,
            ctypes.addressof(self._steps),
            ctypes.addressof(self._row_sizes),
            ctypes.addressof(self._table) if weights else None,
        )
        self._work = sum(map(_work, steps))  # products of numbers for one row
        self._kept, self._given_away = [library.load(holding=holding).paceline_chain_run for holding in (True, False)]

    def run(self, slots: Numbers, rows: Numbers, total: int, tensors: Sequence[Tensor]) -> list[Tensor]:
        """For these slots, each with so many rows (``total`` in all) that lie one after another in every tensor.

        RuntimeError if a tensor does not fit, for the library would read past its end.
        """
        taken = []
        for tensor, size in zip(tensors, self._sizes, strict=False):
            if tensor.numel() != size * total or tensor.dtype is not torch.float32 or not tensor.is_cpu:
                raise RuntimeError(f"a chain takes {size * total} float32 numbers on the CPU, got {tensor.numel()}")
            taken.append(tensor if tensor.is_contiguous() else tensor.contiguous())
        given = [torch.empty((total * factor, *feature)) for factor, *feature in self.gives]
        places = (c_void_p * (len(taken) + len(given)))(*[each.data_ptr() for each in (*taken, *given)])
        function = self._kept if self._work * total < _LONG else self._given_away
        failed = function(self._chain, slots, rows, len(rows), places)
        if failed:
            raise RuntimeError("no memory for what lies between the operators")
        return given

    def split(self, *tensors: Tensor) -> Any:
        """For the slots of ``aim``: ``[R, n, …]`` each, taken and given; a tuple unless it gives one tensor."""
        slots = self._aim.slots
        num_tenants = len(slots)
        if len(tensors[0]) != num_tenants:
            raise RuntimeError(f"a chain for {num_tenants} tenants got the values of {len(tensors[0])}")
        num_rows = tensors[0].shape[1] // self.takes[0][0]
        rows = (c_int32 * num_tenants)(*[num_rows] * num_tenants)
        made = self.run(slots, rows, num_rows * num_tenants, tensors)
        shaped = [each.view(num_tenants, len(each) // num_tenants, *each.shape[1:]) for each in made]
        return tuple(shaped) if len(shaped) > 1 else shaped[0]

    def flat(self, *tensors: Tensor) -> Any:
        """The same for weights of one slot alone, whoever the rows are of: ``[n, …]`` each."""
        num_rows = tensors[0].shape[0] // self.takes[0][0]
        made = self.run(_FIRST, (c_int32 * 1)(num_rows), num_rows, tensors)
        return tuple(made) if len(made) > 1 else made[0]


def _work(step: library.Step) -> int:
    rows = step.result.size[0] * step.result.size[1]
    return int(rows * step.result.size[2] * (step.sources[0].size[2] if step.kind == library.LINEAR else 16))

"""Weights of a family's tenants: each kind of weight lies in one tensor that has a row for every different one.

The stack owns the numbers. A model's parameters can be pointed to ``views``, then they exist once. Tenants with the same
numbers in a weight share its row: five hundred adapters over one base cost the base once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, final

import torch
from torch import Tensor

from paceline.errors import InvalidRequest
from paceline.multiplex.lower.compare import same_bits
from paceline.multiplex.lower.group import Group, Scattered, Unplaced, tensor_bytes
from paceline.multiplex.op import Spec

_SAMPLE: Final = 32  # numbers of a weight that tell most different ones apart
_BASE_BYTES: Final = 64 << 10  # a shared weight from this size on is a base, not worth a copy per tenant


@final
class _Bank:
    """One weight of all tenants. A row stays where it is until the bank grows."""

    def __init__(self, spec: Spec, device: torch.device, capacity: int) -> None:
        self.shape = spec.sizes(0)
        self.capacity = capacity
        self.rows = torch.empty((1, *self.shape), dtype=getattr(torch, spec.dtype), device=device)
        self.row_of: dict[int, int] = {}  # by slot
        self._users: dict[int, int] = {}  # slots by row
        self._marks: dict[bytes, list[int]] = {}

    @property
    def row_bytes(self) -> int:
        return tensor_bytes(self.rows[0])

    @property
    def used_bytes(self) -> int:
        return self.row_bytes * len(self._users)

    def put(self, slot: int, numbers: Tensor) -> bool:
        """Gives the slot these numbers; True if the bank had to move."""
        mark = _mark(numbers)
        row = next((row for row in self._marks.get(mark, ()) if _same(self.rows[row], numbers)), None)
        moved = False
        if row is None:
            row, moved = self._free_row(slot)
            self.rows[row].copy_(numbers)
            self._marks.setdefault(mark, []).append(row)
        self._users[row] = self._users.get(row, 0) + 1
        self.row_of[slot] = row
        return moved

    def drop(self, slot: int) -> None:
        row = self.row_of.pop(slot)
        self._users[row] -= 1
        if self._users[row]:
            return
        del self._users[row]
        for rows in self._marks.values():
            if row in rows:
                rows.remove(row)
        self._marks = {mark: rows for mark, rows in self._marks.items() if rows}
        self.rows[row].zero_()  # dead rows may be computed along; odd numbers would be slow

    def is_shared(self, slot: int) -> bool:
        return self._users[self.row_of[slot]] > 1

    def _free_row(self, slot: int) -> tuple[int, bool]:
        """The row of the slot's own number if it is free, so that neighbours lie side by side."""
        if slot < len(self.rows) and slot not in self._users:
            return slot, False
        if slot >= len(self.rows):
            self._grow(slot + 1)
            return slot, True
        free = next((row for row in range(len(self.rows)) if row not in self._users), None)
        if free is None:
            free = len(self.rows)
            self._grow(free + 1)
            return free, True
        return free, False

    def _grow(self, needed: int) -> None:
        """Memory that is never written to costs nothing, so room is taken generously."""
        size = max(self.capacity, needed if needed <= self.capacity else 2 * needed)
        grown = self.rows.new_empty((size, *self.shape))
        grown[: len(self.rows)].copy_(self.rows)
        for row in range(len(self.rows)):
            if row not in self._users:
                grown[row].zero_()
        self.rows = grown

    def at(self, slots: Sequence[int]) -> list[int | None]:
        return [self.row_of.get(slot) for slot in slots]

    @property
    def is_read_apart(self) -> bool:
        """Whether there is a kernel that finds a matrix of each tenant by its address."""
        return self.rows.is_cuda and len(self.shape) == 2


@final
class Stack:
    """All banks of a family. Slots are numbered from 0; the lowest free one is taken first."""

    def __init__(self, specs: Mapping[str, Spec], *, device: torch.device, capacity: int = 16) -> None:
        self._banks = {name: _Bank(spec, device, capacity) for name, spec in specs.items()}
        self._slots: set[int] = set()

    @property
    def slots(self) -> frozenset[int]:
        """Those in use."""
        return frozenset(self._slots)

    def add(self, weights: Mapping[str, Tensor]) -> tuple[int, bool]:
        """Takes the weights of a new tenant; gives its slot, and whether tensors of earlier groups are out of date."""
        self._check(weights)
        slot = next(number for number in range(len(self._slots) + 1) if number not in self._slots)
        self._slots.add(slot)
        moved = [bank.put(slot, weights[name]) for name, bank in self._banks.items()]
        return slot, any(moved)

    def update(self, slot: int, weights: Mapping[str, Tensor]) -> None:
        """Replaces the numbers of a tenant; others that shared them keep theirs. Earlier groups are out of date."""
        self._check(weights)
        for name, bank in self._banks.items():
            numbers = weights[name].clone()  # it may be a view of the row that is given up
            bank.drop(slot)
            bank.put(slot, numbers)

    def remove(self, slot: int) -> None:
        self._slots.remove(slot)
        for bank in self._banks.values():
            bank.drop(slot)

    def views(self, slot: int) -> dict[str, Tensor]:
        """The tenant's weights in the stack's own memory, to be read only: others may share it."""
        return {name: bank.rows[bank.row_of[slot]] for name, bank in self._banks.items()}

    def group(self, slots: Sequence[int], *, sharing: bool = True) -> Group:
        """The weights for a program over these slots; views where rows lie side by side, else copies.

        Slots that nobody uses are allowed between others: their numbers mean nothing. Without ``sharing`` equal weights
        are handed out as if they differed.
        """
        shared, stacked, copied = {}, {}, 0
        apart: dict[str, list[Tensor]] = {}
        for name, bank in self._banks.items():
            rows = bank.at(slots)
            known = [row for row in rows if row is not None]
            if len(set(known)) == 1 and (sharing or len(slots) > 1):
                row = bank.rows[known[0]]
                if sharing:
                    shared[name] = row
                else:
                    stacked[name] = row.expand(len(slots), *row.shape)
            elif (first := _side_by_side(rows)) is not None and first + len(slots) <= len(bank.rows):
                stacked[name] = bank.rows[first : first + len(slots)]
            elif bank.is_read_apart:
                apart[name] = [bank.rows[known[0] if row is None else row] for row in rows]
            else:
                index = torch.tensor([known[0] if row is None else row for row in rows], device=bank.rows.device)
                stacked[name] = bank.rows.index_select(0, index)
                copied += bank.row_bytes * len(slots)
        return Group(len(slots), shared, Scattered(stacked, apart) if apart else stacked, copied, exact=not sharing)

    def anywhere(self, *, sharing: bool = True) -> Group:
        """The weights of all slots up to the last, for a program whose slots are named before each launch.

        Slots that nobody uses have the weights of another. Nothing is copied.
        """
        shared, apart = {}, {}
        for name, bank in self._banks.items():
            rows = bank.at(range(max(self._slots) + 1))
            known = [row for row in rows if row is not None]
            if sharing and len(set(known)) == 1:
                shared[name] = bank.rows[known[0]]
            else:
                lying = bank.rows.unbind(0)
                apart[name] = [lying[known[0] if row is None else row] for row in rows]
        return Group(1, shared, Unplaced(apart), exact=not sharing)

    def copied_bytes(self, slots: Sequence[int]) -> int:
        """What ``group`` would have to copy at once."""
        total = 0
        for bank in self._banks.values():
            rows = bank.at(slots)
            first = _side_by_side(rows)
            if bank.is_read_apart:
                continue
            if len(set(rows) - {None}) > 1 and (first is None or first + len(slots) > len(bank.rows)):
                total += bank.row_bytes * len(slots)
        return total

    def num_different(self, slots: Sequence[int]) -> int:
        """How many weights are not the same for all of these slots."""
        return sum(len(set(bank.at(slots))) > 1 for bank in self._banks.values())

    def is_same(self, slots: Sequence[int]) -> bool:
        """Whether all weights are the same for all of these slots."""
        return not any(len(set(bank.at(slots))) > 1 for bank in self._banks.values())

    def base(self, slot: int) -> tuple[int, ...]:
        """Which large weights the tenant shares with others: tenants with the same base can run as one batch there."""
        return tuple(
            bank.row_of[slot] if bank.row_bytes >= _BASE_BYTES and bank.is_shared(slot) else -1
            for bank in self._banks.values()
        )

    def memory_bytes(self) -> int:
        return sum(bank.used_bytes for bank in self._banks.values())

    def _check(self, weights: Mapping[str, Tensor]) -> None:
        for name, bank in self._banks.items():
            given = weights.get(name)
            if given is None:
                raise InvalidRequest(f"the weight {name!r} is missing", param=name)
            if tuple(given.shape) != bank.shape or given.dtype != bank.rows.dtype:
                found = f"{list(given.shape)} {given.dtype}"
                raise InvalidRequest(
                    f"the weight {name!r} must be {list(bank.shape)} {bank.rows.dtype}, got {found}", param=name
                )


def _side_by_side(rows: Sequence[int | None]) -> int | None:
    """The first row if all follow each other, those of unused slots being as they should.

    >>> _side_by_side([3, None, 5])
    3
    """
    place, known = next((place, row) for place, row in enumerate(rows) if row is not None)
    first = known - place
    fits = first >= 0 and all(row is None or row == first + place for place, row in enumerate(rows))
    return first if fits else None


def _mark(numbers: Tensor) -> bytes:
    """Equal for equal weights, and seldom for others."""
    flat = numbers.detach().reshape(-1)
    step = math.ceil(max(1, flat.shape[0]) / _SAMPLE)
    return flat[::step].contiguous().cpu().view(torch.uint8).numpy().tobytes()


def _same(row: Tensor, numbers: Tensor) -> bool:
    """Whether every bit is the same, so that NaN equals itself."""
    return same_bits(row, numbers.detach().to(row.device))

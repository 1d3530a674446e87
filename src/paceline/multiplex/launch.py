"""Runs a plan on the device, and finds who is to blame if that fails."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from paceline.errors import ExecutionError
from paceline.multiplex.family import Family
from paceline.multiplex.lower.bundle import State, tensors_of

Result: TypeAlias = State | ExecutionError

_log = logging.getLogger(__name__)


class Member(Protocol):
    """A request of a launch: whose weights, what it brings, how many rows."""

    @property
    def slot(self) -> int: ...
    @property
    def state(self) -> State: ...
    @property
    def num_rows(self) -> int: ...


def launch(family: Family, segment: int, members: Sequence[Member]) -> tuple[list[Result], bool]:
    """The next state of every member, or why it has none; and whether all went well at once.

    If a bundle raises, each member is run once more by itself, so that only those who raise alone fail.
    """
    try:
        states: list[Result] = list(_run(family, segment, members))
        family.finish()  # what fails on the device fails here, and is timed here
        return states, True
    except Exception as error:
        if len(members) == 1:
            return [_blame(error)], False
        trouble = error.with_traceback(None)
    results = [launch(family, segment, [member])[0][0] for member in members]
    if not any(isinstance(result, ExecutionError) for result in results):
        _log.warning("a launch of %d requests failed, none of which fails alone", len(members), exc_info=trouble)
    return results, False


def _blame(error: Exception) -> ExecutionError:
    found = ExecutionError(f"the model raised {type(error).__name__}: {error}")
    found.__cause__ = error.with_traceback(None)  # its frames would keep the tensors of all members alive
    return found


def _run(family: Family, segment: int, members: Sequence[Member]) -> Sequence[State]:
    slots = [member.slot for member in members]
    if len(set(slots)) == len(slots) or family.numerics == "exact":
        return family.run(segment, slots, [member.state for member in members])
    return _run_merged(family, segment, members)


def _run_merged(family: Family, segment: int, members: Sequence[Member]) -> Sequence[State]:
    """Several requests of one tenant share its slot, their rows one after the other."""
    groups: dict[int, list[Member]] = {}
    for member in members:
        groups.setdefault(member.slot, []).append(member)
    made = family.run(segment, list(groups), [_merged(group) for group in groups.values()])
    states: dict[Member, State] = {}
    for group, state in zip(groups.values(), made, strict=True):
        states.update(zip(group, _split(state, group), strict=True))
    return [states[member] for member in members]


def _merged(group: Sequence[Member]) -> State:
    if len(group) == 1:
        return group[0].state
    columns = zip(*[tensors_of(member.state) for member in group], strict=True)
    with torch.inference_mode():
        return tuple([torch.cat(_together(column)) for column in columns])


def _together(column: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Requests may bring tensors on the host and on the device."""
    away = next((tensor.device for tensor in column if not tensor.is_cpu), None)
    return column if away is None else tuple([tensor.to(away) for tensor in column])


def _split(state: State, group: Sequence[Member]) -> Sequence[State]:
    if len(group) == 1:
        return [state]
    num_rows = [member.num_rows for member in group]
    total = sum(num_rows)
    columns = [_share(tensor, num_rows, total) for tensor in tensors_of(state)]
    return list(zip(*columns, strict=True))


def _share(tensor: Tensor, num_rows: Sequence[int], total: int) -> Sequence[Tensor]:
    """Of one value, what belongs to each; a value may have several rows for each row of the request."""
    factor = tensor.shape[0] // total
    return torch.split(tensor, [rows * factor for rows in num_rows])

"""Before traffic: which kernels are best for which groups, and what launches of them take."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from paceline.multiplex.driver import Driver
from paceline.multiplex.family import Family
from paceline.multiplex.lower.bundle import State
from paceline.multiplex.models import Models
from paceline.multiplex.op import Spec

_LARGEST = 64  # tenants in one launch
_RUNS = 6  # of each kind of launch, the first of which is not counted


def warm_up(models: Models, driver: Driver, max_rows: int) -> None:
    """For each family: groups of 1, 2, 4, … of its tenants, with 1, 2, 4, … rows each up to ``max_rows``.

    Between two kinds of launches the driver serves who waits.
    """
    for family in models.families():
        members = models.hosted(family)
        most_rows = min([max_rows, *[model.spec.max_rows for model in members]])
        for num_rows in _powers(most_rows):
            for size in _powers(min(len(members), _LARGEST)):
                driver.call(functools.partial(_measure, models, driver, family, size, num_rows))
        for num_rows in _powers(most_rows):
            driver.call(functools.partial(family.prepare, num_rows))


def _powers(most: int) -> Iterator[int]:
    """1, 2, 4, … and ``most``.

    >>> list(_powers(6))
    [1, 2, 4, 6]
    """
    size = 1
    while size < most:
        yield size
        size *= 2
    yield most


def _measure(models: Models, driver: Driver, family: Family, size: int, num_rows: int) -> None:
    members = models.hosted(family)[:size]
    if len(members) < size:  # some have left meanwhile
        return
    slots = [model.slot for model in members]
    family.tune(slots, num_rows)
    for turn in range(_RUNS):
        while family.rest():
            pass
        states: list[State] = [_zeros(family, num_rows) for _ in slots]
        for place, key in enumerate(members[0].spec.segments):
            began = time.perf_counter()
            states = family.run(place, slots, states)
            family.finish()
            if turn:
                driver.window.costs[key].observe(size, num_rows, time.perf_counter() - began)


def _zeros(family: Family, num_rows: int) -> tuple[Tensor, ...]:
    return tuple([_zero(spec, num_rows, family.device) for spec in family.graph.inputs])


def _zero(spec: Spec, num_rows: int, device: torch.device) -> Tensor:
    return torch.zeros(spec.sizes(num_rows), dtype=getattr(torch, spec.dtype), device=device)

"""Programs that are told their tenants when they run: any of a family's, in any order, without a dead row or a copy.

They consist of chains (``native/``), which find weights by their address. A model whose differing weights are all read in
chains has such programs; others do without.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, final

from paceline.multiplex.blocks import UNMEASURED, Blocks, bucket_of
from paceline.multiplex.lower.bundle import Part, Ragged, Segment, Stacked
from paceline.multiplex.lower.chain import TABLE
from paceline.multiplex.lower.group import Group, NotPlaced
from paceline.multiplex.lower.program import Kernels, Program, build
from paceline.multiplex.lower.rules import kernel_key, variants
from paceline.multiplex.native import library
from paceline.multiplex.native.chain import Aim, Numbers, numbers
from paceline.multiplex.stack import Stack

KernelsOf: TypeAlias = Callable[[Segment, int], Kernels]
"""Kernels of a segment for a bucket of rows."""

_AS_GOOD: Final = 0.97  # of the best gain: then nothing is lost by not lying side by side
_ANY: Final = 0  # number of tenants of a program that takes any number


@final
class Anywhere:
    """Those of one family, kept while the stack stays as it is. ``exact_kernels`` are None where results need not be exact."""

    def __init__(
        self,
        stack: Stack,
        segments: Sequence[Segment],
        blocks: Blocks,
        exact_kernels: KernelsOf | None,
        *,
        on_cpu: bool,
    ) -> None:
        self._stack = stack
        self._segments = segments
        self._blocks = blocks
        self._exact_kernels = exact_kernels
        self._is_here = on_cpu and library.level() is not None
        self._weights: Group | None = None
        self._written: dict[tuple[int, int, frozenset[tuple[str, str]]], tuple[Program, Aim] | None] = {}
        self._kernels: dict[int, Kernels] = {}
        self._measured: dict[tuple[int, int], float] = {}  # over one by one, by bucket of rows and number of tenants

    def forget(self) -> None:
        """The stack has changed."""
        self._weights = None
        self._written.clear()

    def learn_gain(self, num_tenants: int, num_rows: int, gain: float) -> None:
        """So many tenants take ``1 / gain`` of the time that they take one by one; 0 if they have no such program."""
        self._measured[bucket_of(num_rows), num_tenants] = gain

    def gain(self, num_tenants: int, bucket: int) -> float:
        """As measured for the nearest numbers below, rows first; 0 if nothing was."""
        if self._exact_kernels is not None:
            return UNMEASURED
        known = [key for key in self._measured if key[0] <= bucket and key[1] <= num_tenants]
        return self._measured[max(known)] if known else 0.0

    def kernels(self, segment: Segment) -> Kernels:
        """All that can be in a chain is."""
        if segment.place not in self._kernels:
            graph = segment.graph
            found = [op for op in graph.ops if TABLE in variants(graph, op, graph.weights)]
            self._kernels[segment.place] = {kernel_key(graph, op): TABLE for op in found}
        return self._kernels[segment.place]

    def cheapest(self, members: Sequence[int], bucket: int) -> Part | None:
        """A part for these slots, in ascending order, if there is one and no blocks of the stack are cheaper."""
        if not self._is_here or len(members) == 1 or not self._gains(members, bucket) or self._stack.is_same(members):
            return None
        return self.part(members, bucket)

    def _gains(self, members: Sequence[int], bucket: int) -> bool:
        gain = self.gain(len(members), bucket)
        if gain <= 1.0:
            return False
        if gain >= _AS_GOOD * self._blocks.best_gain:
            return True
        limit = max(self._stack.slots) + 1
        cost, _ = self._blocks.cheapest(0, bucket_of(limit), members, limit)
        return len(members) / gain <= cost / _AS_GOOD

    def part(self, slots: Sequence[int], bucket: int) -> Part | None:
        """Runs these slots, all different; None if a segment has no such program."""
        found = [self._program(segment, len(slots), self._kernels_for(segment, bucket)) for segment in self._segments]
        programs = [program for program in found if program is not None]
        if len(programs) < len(found):
            return None
        own = numbers(slots)
        if all(program.chain is not None for program, _ in programs):
            return Ragged([program.chain for program, _ in programs if program.chain is not None], own)
        aimed = [_aimed(program, aim, own) for program, aim in programs]
        fill = None if self._exact_kernels is None else bucket
        return Stacked(lambda segment: aimed[segment.place], len(slots), range(len(slots)), fill)

    def program(self, segment: Segment, slots: Sequence[int]) -> Program | None:
        """One segment for these slots, as a program, to be measured."""
        if not self._is_here or len(slots) < 2:
            return None
        found = self._written_for(segment, len(slots), self.kernels(segment))
        return None if found is None else _aimed(*found, numbers(slots))

    def prepare(self, most: int, bucket: int) -> None:
        """Writes the programs for up to so many tenants, if it pays to run them so."""
        if self._is_here and most > 1 and self.gain(most, bucket) > 1.0:
            for size in range(2, most + 1):
                self.part(range(size), bucket)

    def _kernels_for(self, segment: Segment, bucket: int) -> Kernels:
        return self.kernels(segment) if self._exact_kernels is None else self._exact_kernels(segment, bucket)

    def _program(self, segment: Segment, num_tenants: int, kernels: Kernels) -> tuple[Program, Aim] | None:
        any_number = self._written_for(segment, _ANY, kernels)
        if any_number is None or any_number[0].chain is not None:
            return any_number
        return self._written_for(segment, num_tenants, kernels)

    def _written_for(self, segment: Segment, num_tenants: int, kernels: Kernels) -> tuple[Program, Aim] | None:
        key = (segment.place, num_tenants, frozenset(kernels.items()))
        if key not in self._written:
            self._written[key] = self._write(segment, max(num_tenants, 1), kernels)
        return self._written[key]

    def _write(self, segment: Segment, num_tenants: int, kernels: Kernels) -> tuple[Program, Aim] | None:
        if self._weights is None:
            self._weights = self._stack.anywhere(sharing=self._exact_kernels is None)
        aim = Aim(num_tenants)
        group = dataclasses.replace(self._weights, num_tenants=num_tenants, aim=aim)
        try:
            return build(segment.graph, group, kernels), aim
        except NotPlaced:
            return None


def _aimed(program: Program, aim: Aim, slots: Numbers) -> Program:
    function = program.function

    def run(*tensors: Any) -> Any:
        aim.slots = slots
        return function(*tensors)

    return dataclasses.replace(program, function=run, num_tenants=len(slots))

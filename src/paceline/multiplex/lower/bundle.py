"""Running a segment for several tenants, and what lies between two segments.

Between segments a bundle stays packed: its members hold slices of it, and only those that go on in other company are
unpacked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, final

import torch
from torch import Tensor

from paceline.multiplex.lower.form import PACK, converted, padded, unpack
from paceline.multiplex.lower.program import Program
from paceline.multiplex.native.chain import Chain, Numbers, numbers
from paceline.multiplex.op import Graph, Rows, Spec


@final
@dataclass(frozen=True, slots=True)
class Shape:
    """``factor`` times as many rows as the request has (0: none at all), then the feature."""

    factor: int
    feature: tuple[int, ...]


def shape_of(spec: Spec) -> Shape:
    factor = next((size.factor for size in spec.shape if isinstance(size, Rows)), 0)
    return Shape(factor, tuple([size for size in spec.shape if not isinstance(size, Rows)]))


@final
@dataclass(slots=True, eq=False)
class Bundle:
    """What one launch made, still packed. All places have ``most`` rows, of which ``num_rows`` are real."""

    part: Stacked
    program: Program
    shapes: tuple[Shape, ...]
    tensors: tuple[Tensor, ...]
    num_rows: Sequence[int]
    most: int
    columns: list[Sequence[Tensor]]  # unpacked, once somebody wants it

    def member(self, place: int) -> tuple[Tensor, ...]:
        """What one tenant has of it, its own rows alone."""
        columns, rows = self.unpacked(), self.num_rows[place]
        if rows == self.most:
            return tuple([column[place] for column in columns])
        pairs = zip(columns, self.shapes, strict=True)
        return tuple(
            [column[place][: rows * shape.factor] if shape.factor else column[place] for column, shape in pairs]
        )

    def unpacked(self) -> list[Sequence[Tensor]]:
        """Of each value one tensor per place, padding and all."""
        if not self.columns:
            forms = zip(self.tensors, self.program.gives, strict=True)
            self.columns.extend([unpack(tensor, form, self.program.num_tenants) for tensor, form in forms])
        return self.columns


@final
@dataclass(slots=True, eq=False)
class Slice:
    """A member's share of a bundle, not unpacked yet."""

    bundle: Bundle
    place: int


State: TypeAlias = tuple[Tensor, ...] | Slice
"""What a member brings to a segment: its inputs ``[n, …]``, or its share of the last bundle."""


def tensors_of(state: State) -> tuple[Tensor, ...]:
    """The member's own tensors."""
    return state.bundle.member(state.place) if isinstance(state, Slice) else state


@final
@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A piece of the family's graph and the shapes at its ends."""

    place: int
    key: str
    graph: Graph
    takes: tuple[Shape, ...]
    gives: tuple[Shape, ...]
    is_last: bool


class Part(Protocol):
    """Tenants that run together. States and rows come in the order of ``slots``."""

    def run(self, segment: Segment, states: Sequence[State], num_rows: Sequence[int]) -> Sequence[State]: ...


MOST_FILLED: Final = 256
"""Rows up to which a device computes empty ones in no time; beyond, that takes longer than to start another program."""

ProgramOf: TypeAlias = Callable[[Segment], Program]
"""The program of a segment, made at its first use."""


@final
class Stacked:
    """Different weights: one stacked program. ``places`` are those that members fill; the others are dead.

    ``bucket``: the number of rows that every member is filled up to; None for that of the longest member.
    """

    def __init__(self, program: ProgramOf, num_places: int, places: Sequence[int], bucket: int | None) -> None:
        self._program = program
        self._num_places = num_places
        self._places = tuple(places)
        self._bucket = bucket

    def run(self, segment: Segment, states: Sequence[State], num_rows: Sequence[int]) -> Sequence[State]:
        program = self._program(segment)
        most = self._bucket or max(num_rows)
        tensors = self._still_packed(program, states) or self._packed(segment, program, states, most)
        rows = num_rows
        is_full = len(self._places) == self._num_places
        if not is_full:
            rows = [0] * self._num_places
            for place, own in zip(self._places, num_rows, strict=True):
                rows[place] = own
        bundle = Bundle(self, program, segment.gives, program.function(*tensors), rows, most, [])
        if not segment.is_last:
            return [Slice(bundle, place) for place in self._places]
        if is_full and min(rows) == most:
            return list(zip(*bundle.unpacked(), strict=True))
        return [bundle.member(place) for place in self._places]

    def _still_packed(self, program: Program, states: Sequence[State]) -> tuple[Tensor, ...] | None:
        """The last bundle's tensors if these are its members and nobody else."""
        first = states[0]
        if not isinstance(first, Slice) or first.bundle.part is not self:
            return None
        last = first.bundle
        if not all(isinstance(state, Slice) and state.bundle is last for state in states):
            return None
        ends = zip(last.tensors, last.program.gives, program.takes, last.shapes, strict=True)
        return tuple([converted(each, a, b, shape.feature, self._num_places) for each, a, b, shape in ends])

    def _packed(self, segment: Segment, program: Program, states: Sequence[State], most: int) -> tuple[Tensor, ...]:
        members = [tensors_of(state) for state in states]
        ends = zip(program.takes, segment.takes, zip(*members, strict=True), strict=True)
        return tuple([PACK[form](self._filled(column, most * shape.factor)) for form, shape, column in ends])

    def _filled(self, column: Sequence[Tensor], rows: int) -> list[Tensor]:
        filled = [tensor if tensor.shape[0] == rows else padded(tensor, rows) for tensor in column]
        if len(filled) == self._num_places:
            return filled
        places = [torch.zeros_like(filled[0])] * self._num_places
        for place, tensor in zip(self._places, filled, strict=True):
            places[place] = tensor
        return places


@final
class Joined:
    """The same weights: one program over the rows of all, with ``fills`` up to the next power of two."""

    def __init__(self, program: ProgramOf, *, fills: bool = False) -> None:
        self._program = program
        self._fills = fills

    def run(self, segment: Segment, states: Sequence[State], num_rows: Sequence[int]) -> Sequence[State]:
        members = [tensors_of(state) for state in states]
        function = self._program(segment).function
        if len(members) == 1 and not self._fills:
            return [function(*members[0])]
        tensors = [torch.cat(column) for column in zip(*members, strict=True)]
        if self._fills:
            filled = _filled(sum(num_rows))
            num_rows = [*num_rows, filled - sum(num_rows)]
            tensors = [padded(each, filled * shape.factor) for each, shape in zip(tensors, segment.takes, strict=True)]
        made = function(*tensors)
        columns = [
            torch.split(each, [rows * shape.factor for rows in num_rows]) if shape.factor else [each] * len(num_rows)
            for each, shape in zip(made, segment.gives, strict=True)
        ]
        return list(zip(*columns, strict=True))[: len(members)]


@final
class Ragged:
    """Chains that take any slots, each with the rows that it has; one chain per segment."""

    def __init__(self, chains: Sequence[Chain], slots: Numbers) -> None:
        self._chains = chains
        self._slots = slots

    def run(self, segment: Segment, states: Sequence[State], num_rows: Sequence[int]) -> Sequence[State]:
        members = [tensors_of(state) for state in states]
        tensors = [torch.cat(column) for column in zip(*members, strict=True)]
        chain = self._chains[segment.place]
        made = chain.run(self._slots, numbers(num_rows), sum(num_rows), tensors)
        columns = [
            torch.split(each, [rows * factor for rows in num_rows])
            for each, (factor, *_) in zip(made, chain.gives, strict=True)
        ]
        return list(zip(*columns, strict=True))


def _filled(num_rows: int) -> int:
    return 1 << (num_rows - 1).bit_length() if num_rows <= MOST_FILLED else num_rows


@final
class OneByOne:
    """Nothing is gained by company: the part of each, one after another."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts

    def run(self, segment: Segment, states: Sequence[State], num_rows: Sequence[int]) -> Sequence[State]:
        trios = zip(self._parts, states, num_rows, strict=True)
        return [part.run(segment, [state], [rows])[0] for part, state, rows in trios]


@final
class Measured:
    """Together or one by one (``apart`` makes that), as ``is_apart`` says of each segment when it is first run."""

    def __init__(self, together: Part, apart: Callable[[], Part], is_apart: Callable[[Segment], bool]) -> None:
        self._together = together
        self._apart = apart
        self._is_apart = is_apart
        self._chosen: dict[int, Part] = {}

    def run(self, segment: Segment, states: Sequence[State], num_rows: Sequence[int]) -> Sequence[State]:
        part = self._chosen.get(segment.place)
        if part is None:
            part = self._chosen[segment.place] = self._apart() if self._is_apart(segment) else self._together
        return part.run(segment, states, num_rows)

"""Rules for groups of operators that differ in nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from paceline.multiplex.capture.builder import Arguments, Builder, Cell
from paceline.multiplex.capture.traced import NotCapturable
from paceline.multiplex.op import Rows
from paceline.multiplex.operators import REDUCTIONS

Rule: TypeAlias = Callable[[Builder, str, Arguments], list[Cell]]
"""Writes one traced operator; a list of what it gives. Raises NotCapturable."""


def cells(arguments: Arguments) -> list[Cell]:
    """All tensors among the arguments, in order."""
    return [cell for value in arguments.values() for cell in _cells(value)]


def _cells(value: Any) -> Iterator[Cell]:
    if isinstance(value, Cell):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _cells(each)


def has_rows(value: Any) -> bool:
    """Whether the number of rows is among the arguments."""
    if isinstance(value, dict):
        return any(map(has_rows, value.values()))
    return any(map(has_rows, value)) if isinstance(value, (list, tuple)) else isinstance(value, Rows)


def common_rows(target: str, tensors: list[Cell]) -> int:
    """The dimension in which all values have their rows; 0 if there are none."""
    places = {cell.rows_at for cell in tensors if not cell.is_weight}
    if len(places) > 1:
        raise NotCapturable(f"{target} takes tensors with their rows in different dimensions")
    return places.pop() if places else 0


def plain_rows(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """For operators that want the rows where they are stored."""
    rows_at = common_rows(target, cells(arguments))
    if rows_at:
        raise NotCapturable(f"{target} takes a tensor with its rows in dimension {rows_at}, not 0")
    return builder.emit(target, arguments)


def pointwise_rule(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """Number by number: it does not matter where the rows are, as long as all have them there."""
    tensors = cells(arguments)
    rows_at = common_rows(target, tensors)
    if rows_at:
        rank = max(cell.rank for cell in tensors)
        if any(cell.rank != rank for cell in tensors if not cell.is_weight):
            raise NotCapturable(f"{target} takes tensors with their rows in different dimensions, from the right")
        arguments = {
            name: _moved(builder, value, rank, rows_at) if isinstance(value, Cell) and value.is_weight else value
            for name, value in arguments.items()
        }
    return builder.emit(target, arguments, rows_at=rows_at)


def _moved(builder: Builder, weight: Cell, rank: int, rows_at: int) -> Cell:
    """A weight to be broadcast to values with their rows in ``rows_at``, brought into the order they are stored in."""
    if weight.rank < rank - rows_at:
        return weight
    full = [1] * (rank - weight.rank) + list(weight.spec.shape)
    shaped = builder.emit_one("aten.reshape.default", {"self": weight, "shape": full})
    order = [rows_at, *(dim for dim in range(rank) if dim != rows_at)]
    return builder.emit_one("aten.permute.default", {"self": shaped, "dims": order})


def spread_out(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """``std`` and ``var`` by their other names."""
    correction = {"correction": 1 if arguments["unbiased"] else 0}
    given = {name: value for name, value in arguments.items() if name != "unbiased"}
    return along(builder, target.replace(".dim", ".correction"), given | correction)


def along(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """Along one or more dimensions, none of which may be the rows."""
    tensors = cells(arguments)
    rows_at, first = common_rows(target, tensors), tensors[0]
    main = next((cell for cell in tensors if not cell.is_weight), first)
    name = "dims" if "dims" in arguments else "dim"
    given = arguments[name]
    asked = list(given) if isinstance(given, (list, tuple)) else [given]
    if not asked or None in asked:
        raise NotCapturable(f"{target} runs over everything, so rows of different requests would mix")
    stacks = target == "aten.stack.default"
    dims = [dim % (main.rank + stacks) for dim in asked]
    places = [main.place(dim) for dim in dims if not stacks]
    if stacks:
        rows_at += dims[0] <= rows_at
        places = [dims[0] + (dims[0] < rows_at)]
    if 0 in places and not all(cell.is_weight for cell in tensors):
        raise NotCapturable(f"{target} runs along the rows, so rows of different requests would mix")
    if target == "aten.select.int" or (target in REDUCTIONS and not arguments.get("keepdim")):
        rows_at -= sum(dim < rows_at for dim in dims)
    stored = places if isinstance(given, (list, tuple)) else places[0]
    return builder.emit(target, arguments | {name: stored}, rows_at=rows_at)

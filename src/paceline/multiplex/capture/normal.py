"""From a traced model to a graph in normal form: few operators, rows in front, nothing written in place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import torch
from torch._ops import OpOverload

from paceline.multiplex.capture.builder import Arguments, Builder, Cell, defaults, named
from paceline.multiplex.capture.evaluate import dtype_of
from paceline.multiplex.capture.recipe import Recipe
from paceline.multiplex.capture.rules import RULES, write
from paceline.multiplex.capture.rules.general import cells as cells_in
from paceline.multiplex.capture.traced import Call, Input, NotCapturable, Ref, Source, State, Traced
from paceline.multiplex.op import Argument, Dtype, Graph, Many, Spec, Value, Weight, reads
from paceline.multiplex.operators import OPERATORS


def normalise(traced: Traced, inputs: Sequence[Spec]) -> tuple[Graph, Recipe]:
    """The graph of a traced model, its results as a tuple, and how its weights are made. Raises NotCapturable."""
    builder = Builder(inputs, traced.state)
    uses = Counter(source for call in traced.calls for source in _sources((*call.args, *call.keywords.values())))
    uses.update(traced.outputs)
    cells: dict[Source, Cell] = {Input(place): builder.cell(Value(place), shared=True) for place in range(len(inputs))}
    for number, call in enumerate(traced.calls):
        for place, cell in enumerate(_write(builder, call, _bound(builder, call, cells))):
            cell.read_once &= uses[Ref(number, place)] == 1
            cells[Ref(number, place)] = cell
    return builder.finish([_cell(builder, source, cells) for source in traced.outputs])


def renormalised(graph: Graph, weights: Mapping[str, torch.Tensor]) -> Graph:
    """A graph written once more by the same rules: equal to ``graph`` if that is in normal form.

    So a graph from elsewhere is held to all that is asked of a traced model. Raises NotCapturable.
    """
    builder = Builder(graph.inputs, weights)
    values = [builder.cell(Value(place), shared=True) for place in range(len(graph.inputs))]

    def bind(argument: Argument) -> Any:
        if isinstance(argument, Value):
            return values[argument.index]
        if isinstance(argument, Weight):
            return builder.weight(argument.name)
        if isinstance(argument, Many):
            return [bind(each) for each in argument.items]
        return dtype_of(argument.name) if isinstance(argument, Dtype) else argument

    for op in graph.ops:
        if op.target not in OPERATORS:
            raise NotCapturable(f"it uses {op.target}, which is not on the list of operators")
        if not any(isinstance(tensor, Value) for tensor in reads(op)) and op.target != "aten.expand.default":
            raise NotCapturable(f"it holds {op.target} of weights alone")
        given = {name: bind(argument) for name, argument in named(op).items()}
        results = write(builder, op.target, defaults(op.target) | given)
        missing = len(op.outputs) - len(results)  # states after the last step, which nobody may read
        values += [*results, *[values[0]] * missing]
    written, _ = builder.finish([values[number] for number in graph.outputs])
    return msgspec.structs.replace(written, structure=graph.structure, names=graph.names)


def _write(builder: Builder, call: Call, arguments: Arguments) -> list[Cell]:
    target = call.target
    if torch.Tag.nondeterministic_seeded in target.tags and not {str(target)} & (RULES.keys() | OPERATORS):
        raise NotCapturable(f"it draws random numbers ({target})")
    if target._schema.is_mutable:
        return _write_in_place(builder, target, arguments)
    results = write(builder, str(target), arguments)
    seen = {slot.name: arguments[slot.name] for slot in target._schema.arguments if slot.alias_info is not None}
    for cell in (*cells_in(seen), *results) if seen else ():  # the results are views of what is seen
        cell.shared = True
    return results


def _write_in_place(builder: Builder, target: OpOverload, arguments: Arguments) -> list[Cell]:
    """As the operator that gives a new tensor, which then stands where the old one stood."""
    written = [
        slot.name for slot in target._schema.arguments if slot.alias_info is not None and slot.alias_info.is_write
    ]
    space, name, variant = str(target).split(".")
    cell = arguments[written[0]]
    if len(written) != 1 or not name.endswith("_") or cell.shared:
        raise NotCapturable(_refused_write(builder, str(target), cell))
    (result,) = write(builder, f"{space}.{name[:-1]}.{variant}", arguments)
    if result.spec.dtype != cell.spec.dtype:
        raise NotCapturable(f"{target} would change the type of the tensor that it writes to")
    cell.tensor, cell.spec, cell.rows_at = result.tensor, result.spec, result.rows_at
    return [cell]


def _refused_write(builder: Builder, target: str, cell: Cell) -> str:
    if isinstance(cell.tensor, Weight):
        if cell.tensor.name.endswith("num_batches_tracked"):
            return "batch normalisation is learning: call eval() before"
        return f"it writes to a buffer, {cell.tensor.name}"
    return f"it writes to {'its input' if builder.is_input(cell) else 'a tensor of which there are views'}, in {target}"


def _bound(builder: Builder, call: Call, cells: dict[Source, Cell]) -> Arguments:
    """All arguments by name, defaults too."""

    def bind(value: Any) -> Any:
        if isinstance(value, (Ref, Input, State)):
            return _cell(builder, value, cells)
        return [bind(each) for each in value] if isinstance(value, (list, tuple)) else value

    slots = call.target._schema.arguments
    given = dict(zip((slot.name for slot in slots), call.args, strict=False)) | dict(call.keywords)
    return {slot.name: bind(given.get(slot.name, slot.default_value)) for slot in slots}


def _cell(builder: Builder, source: Source, cells: dict[Source, Cell]) -> Cell:
    if isinstance(source, State):
        return cells.setdefault(source, builder.weight(source.name))
    if source not in cells:
        raise NotCapturable("it reads a result that is not kept, such as the cells of an LSTM after the last step")
    return cells[source]


def _sources(value: Any) -> Iterator[Source]:
    if isinstance(value, (Ref, Input, State)):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _sources(each)

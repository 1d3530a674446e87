"""Tracing by ``torch.export`` with the number of rows left open: the main way."""

from __future__ import annotations

import itertools
from typing import Any, Final

import torch
from torch import nn
from torch.export.graph_signature import InputKind, OutputKind

from paceline.multiplex.capture.plain import plain
from paceline.multiplex.capture.traced import (
    Input,
    NotCapturable,
    Source,
    State,
    Traced,
    calls_of,
    distinct,
    output_sources,
)
from paceline.multiplex.op import Rows

_CONSTANT: Final = InputKind.CONSTANT_TENSOR
_EXAMPLE_ROWS: Final = 4  # torch.export takes sizes 0 and 1 for constants


def export(model: nn.Module, examples: tuple[torch.Tensor, ...]) -> torch.export.ExportedProgram:
    """The model's program for any number of rows. Raises NotCapturable."""
    rows = torch.export.Dim("rows")
    inputs = tuple(with_rows(example, _EXAMPLE_ROWS) for example in examples)
    shapes = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]
    for each in inputs:
        shapes[each] = {0: rows}
    try:
        with plain(model):
            return torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)  # type: ignore[arg-type]
    except Exception as error:  # whatever the tracer or the model's own code raises
        raise NotCapturable(why(error)) from error


def taken_apart(program: torch.export.ExportedProgram, model: nn.Module) -> torch.export.ExportedProgram:
    """The same without writing in place, and with rarer operators as their parts. Raises NotCapturable."""
    try:
        with plain(model):
            functional: torch.export.ExportedProgram = program.run_decompositions({})
            return functional
    except Exception as error:
        raise NotCapturable(why(error)) from error


def read(program: torch.export.ExportedProgram) -> Traced:
    """The calls of an exported program. Raises NotCapturable."""
    entries = program.graph_signature.input_specs
    held: dict[str, torch.Tensor] = {**program.state_dict, **program.constants}
    firsts = distinct({str(each.target): held[str(each.target)] for each in entries if each.kind is _CONSTANT})
    inputs = map(Input, itertools.count())
    places: dict[str, Source] = {}
    for entry in entries:
        if entry.kind is InputKind.USER_INPUT:
            places[entry.arg.name] = next(inputs)
        elif entry.target is not None:
            places[entry.arg.name] = State(firsts.get(entry.target, entry.target))
    for written in program.graph_signature.output_specs:
        if written.kind is not OutputKind.USER_OUTPUT:
            raise NotCapturable(f"it writes to {written.target or 'its input'}")
    *nodes, last = program.graph.nodes
    sources = {node: places[node.name] for node in nodes if node.op == "placeholder" and node.name in places}
    calls = calls_of(nodes, sources, _size)
    return Traced(calls, output_sources(last.args[0], sources), held)


def _size(size: Any) -> int | Rows:
    """A symbolic size as a multiple of the rows."""
    if isinstance(size, torch.SymInt):
        expression = size.node.expr
        (rows,) = expression.free_symbols
        factor = expression.subs(rows, 1)
        if expression == factor * rows and factor.is_Integer:
            return Rows(int(factor))
        raise NotCapturable(f"a size follows the number of rows as {str(expression).replace(str(rows), 'rows')}")
    raise NotCapturable("it computes a number that decides a shape")


def with_rows(example: torch.Tensor, num_rows: int) -> torch.Tensor:
    """``num_rows`` rows by repeating those of an example.

    >>> with_rows(torch.tensor([[1], [2]]), 3)
    tensor([[1], [2], [1]])
    """
    times = -(-num_rows // len(example))
    return example.detach().repeat(times, *[1] * (example.dim() - 1))[:num_rows].clone()


_CAUSES: Final = {
    "GuardOnDataDependentSymNode": "its control flow depends on the numbers in its input",
    "DataDependentOutputException": "it reads numbers of its input back into Python",
    "DynamicOutputShapeException": "a shape depends on the numbers in its input",
}


def why(error: BaseException) -> str:
    """What a tracer's error means for the owner of the model."""
    kinds = [type(each).__name__ for each in (error, error.__cause__, error.__context__)]
    known = next((_CAUSES[kind] for kind in kinds if kind in _CAUSES), None)
    text = str(error).strip()
    if known is None and "is not a known type" in text:
        known = "it returns something that is not made of tensors alone"
    if known is None and "Constraints violated" in text:
        known = "it works for one number of rows only, or treats some numbers of rows in their own way"
    return known or f"it cannot be traced: {type(error).__name__}: {text.partition(chr(10))[0][:200]}"

"""Whether a graph computes what its model computes: the plain interpreter, and the comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import torch
from torch import nn

from paceline.multiplex.capture.evaluate import call
from paceline.multiplex.capture.export import with_rows
from paceline.multiplex.capture.plain import unfused
from paceline.multiplex.capture.traced import NotCapturable
from paceline.multiplex.op import Graph, Value, Weight

Structure: TypeAlias = Literal["tensor", "tuple", "dict"]

_RTOL: Final = 1e-4
_ATOL: Final = 1e-5


def interpret(
    graph: Graph, weights: Mapping[str, torch.Tensor], inputs: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """Runs a graph op by op: slow and plain, so it is what others are compared with. Raises what torch raises."""
    values = list(inputs)

    def read(tensor: Value | Weight) -> torch.Tensor:
        return weights[tensor.name] if isinstance(tensor, Weight) else values[tensor.index]

    with torch.no_grad():
        for op in graph.ops:
            values += call(op, read, len(inputs[0]))
    return tuple(values[number] for number in graph.outputs)


def flat(output: Any) -> tuple[tuple[torch.Tensor, ...], Structure, tuple[str, ...]]:
    """What a model returns as tensors in a row, with the structure and the names that a graph keeps.

    Raises NotCapturable unless it is a tensor, or a tuple, list or dictionary of tensors.

    >>> flat({"a": torch.zeros(1)})
    ((tensor([0.]),), 'dict', ('a',))
    """
    structure: Structure = "tensor"
    tensors: Sequence[Any] = (output,)
    names: tuple[str, ...] = ()
    if isinstance(output, (tuple, list)):
        structure, tensors = "tuple", output
    elif isinstance(output, Mapping):
        structure, tensors, names = "dict", tuple(output.values()), tuple(output)
    if (
        not tensors
        or not all(isinstance(each, torch.Tensor) for each in tensors)
        or not all(isinstance(each, str) for each in names)
    ):
        raise NotCapturable(f"it returns a {type(output).__name__} that is not made of tensors alone")
    return tuple(tensors), structure, names


def check_same(
    graph: Graph, weights: Mapping[str, torch.Tensor], model: nn.Module, examples: tuple[torch.Tensor, ...]
) -> tuple[Structure, tuple[str, ...]]:
    """Raises NotCapturable unless graph and model agree on the examples, on 1 row and on 3, and rows are independent.

    Returns how the model's results are to be put together, and their names.
    """
    for num_rows in (len(examples[0]), 1, 3):
        inputs = examples if num_rows == len(examples[0]) else tuple(varied(each, num_rows) for each in examples)
        try:
            with torch.no_grad(), unfused():
                expected, structure, names = flat(model(*inputs))
            found = interpret(graph, weights, inputs)
        except NotCapturable:
            raise
        except Exception as error:  # whatever the model's own code raises
            raise NotCapturable(f"it fails on {num_rows} rows: {type(error).__name__}: {error}") from error
        _compare(expected, found, f"as captured it computes something else on {num_rows} rows")
    alone = [interpret(graph, weights, [each[row : row + 1] for each in inputs]) for row in range(3)]
    together = tuple(map(torch.cat, zip(*alone, strict=True)))
    _compare(found, together, "what it gives for a row depends on the other rows")
    return structure, names


def _compare(expected: Sequence[torch.Tensor], found: Sequence[torch.Tensor], text: str) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            raise NotCapturable(
                f"{text}: {ours.dtype} {list(ours.shape)} instead of {theirs.dtype} {list(theirs.shape)}"
            )
        if not torch.allclose(ours, theirs, _RTOL, _ATOL, equal_nan=True):
            difference = (ours.double() - theirs.double()).abs().max().item()
            raise NotCapturable(f"{text} (largest difference {difference:.2g})")


def varied(example: torch.Tensor, num_rows: int) -> torch.Tensor:
    """``num_rows`` different rows like those of an example. Whole numbers change places, so that none is new."""
    rows = with_rows(example, num_rows)
    if not rows.is_floating_point():
        return torch.stack([row.roll(place) if row.dim() else row for place, row in enumerate(rows)])
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(rows.shape, generator=generator).to(rows)
    return rows + 0.1 * noise * (rows.abs().mean() + 0.1)

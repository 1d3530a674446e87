"""A traced model before it is normalised: the calls of ATen operators that a tracer saw, and what they read."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import fx
from torch._ops import OpOverload

from paceline.multiplex.op import Rows


class NotCapturable(Exception):
    """The model is no straight line of known operators that treat every row alone; ``reasons`` are for its owner."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


@dataclass(frozen=True, slots=True)
class Ref:
    """What call number ``call`` gives, at ``place`` where it gives several tensors."""

    call: int
    place: int = 0


@dataclass(frozen=True, slots=True)
class Input:
    """A tensor that the caller gives."""

    place: int


@dataclass(frozen=True, slots=True)
class State:
    """A parameter, buffer or constant of the model."""

    name: str


Source: TypeAlias = Ref | Input | State


@dataclass(frozen=True, slots=True)
class Call:
    """``target`` with its arguments: tensors as ``Source``, sizes that follow the rows as ``Rows``, several as lists."""

    target: OpOverload
    args: tuple[Any, ...]
    keywords: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Traced:
    """All calls in order; ``state`` holds every tensor that a ``State`` names."""

    calls: tuple[Call, ...]
    outputs: tuple[Source, ...]
    state: Mapping[str, torch.Tensor]


def calls_of(
    nodes: Iterable[fx.Node], sources: dict[fx.Node, Source], size: Callable[[Any], int | Rows]
) -> tuple[Call, ...]:
    """The calls among ``nodes``. ``sources`` knows the tensors that are there before, and learns the others.

    ``size`` tells what a size stands for. Raises NotCapturable.
    """
    calls: list[Call] = []

    def argument(value: Any) -> Any:
        if isinstance(value, fx.Node):
            return sources[value] if value in sources else size(value.meta["val"])
        return [argument(each) for each in value] if isinstance(value, (list, tuple)) else value

    for node in nodes:
        if node.op != "call_function" or isinstance(node.meta.get("val"), (torch.SymInt, torch.SymBool)):
            continue  # sizes are read where they are used
        if node.target is operator.getitem:
            source, place = argument(node.args[0]), node.args[1]
            assert isinstance(source, Ref)
            assert isinstance(place, int)
            sources[node] = Ref(source.call, place)
        elif isinstance(node.target, OpOverload):
            sources[node] = Ref(len(calls))
            keywords = {name: argument(value) for name, value in node.kwargs.items()}
            calls.append(Call(node.target, tuple(map(argument, node.args)), keywords))
        else:
            raise NotCapturable(f"it uses {getattr(node.target, '__name__', node.target)}, which is no plain operator")
    return tuple(calls)


def distinct(constants: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """For each constant the first one that equals it, by their names.

    >>> distinct({"a": torch.zeros(2), "b": torch.ones(2), "c": torch.zeros(2)})
    {'a': 'a', 'b': 'b', 'c': 'a'}
    """
    firsts: dict[str, str] = {}
    for name, tensor in constants.items():
        equal = (other for other in firsts if constants[other].dtype == tensor.dtype and constants[other].equal(tensor))
        firsts[name] = next(equal, name)
    return firsts


def output_sources(outputs: Any, sources: Mapping[fx.Node, Source]) -> tuple[Source, ...]:
    """The tensors that a traced graph returns. Raises NotCapturable."""
    if not all(isinstance(node, fx.Node) and node in sources for node in outputs):
        raise NotCapturable("it returns something that is not a tensor")
    return tuple(sources[node] for node in outputs)

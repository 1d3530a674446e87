"""What a captured model is: a straight line of ATen operators over values and weights. Pure.

A graph is plain data, so it can be hashed, cut, compared and stored as JSON; nothing in it can run by itself.
Dimension 0 of every input and output of a model counts rows: requests may bring any number of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

import msgspec


class Value(msgspec.Struct, frozen=True, tag="value"):
    """A tensor that depends on the request: inputs of the graph are numbered first, then what its ops give, in order."""

    index: int


class Weight(msgspec.Struct, frozen=True, tag="weight"):
    """A tensor of the model by its name in ``Graph.weights``."""

    name: str


class Rows(msgspec.Struct, frozen=True, tag="rows"):
    """``factor`` times the number of rows, where an operator takes a size."""

    factor: int = 1


class Dtype(msgspec.Struct, frozen=True, tag="dtype"):
    """A type of numbers as an argument: "float32", "int64", …"""

    name: str


class Many(msgspec.Struct, frozen=True, tag="list"):
    """Several arguments in the place of one."""

    items: tuple[Argument, ...]


Argument: TypeAlias = Value | Weight | Rows | Dtype | Many | bool | int | float | str | None


class Spec(msgspec.Struct, frozen=True):
    """Shape and type of a tensor. ``Rows`` stands where the size follows the number of rows.

    >>> Spec((Rows(), 3), "float32").sizes(4)
    (4, 3)
    """

    shape: tuple[int | Rows, ...]
    dtype: str

    def sizes(self, num_rows: int) -> tuple[int, ...]:
        return tuple([size.factor * num_rows if isinstance(size, Rows) else size for size in self.shape])


class Op(msgspec.Struct, frozen=True):
    """One operator. ``target`` is its ATen name with the overload, as in "aten.linear.default".

    ``args`` follow the operator's schema, with defaults left out at the end; ``keywords`` hold those that have no place.
    An operator with several results gives as many values.
    """

    target: str
    args: tuple[Argument, ...]
    outputs: tuple[Spec, ...]
    keywords: dict[str, Argument] = {}


class Graph(msgspec.Struct, frozen=True):
    """A model or a segment of one.

    ``outputs`` are numbers of values. ``structure`` tells how a model returns them: a single tensor, a tuple, or a
    dictionary with the keys ``names`` (else empty).
    """

    inputs: tuple[Spec, ...]
    ops: tuple[Op, ...]
    outputs: tuple[int, ...]
    weights: dict[str, Spec]
    structure: Literal["tensor", "tuple", "dict"] = "tensor"
    names: tuple[str, ...] = ()

    def specs(self) -> list[Spec]:
        """Of all values, in order."""
        return [*self.inputs, *(spec for op in self.ops for spec in op.outputs)]

    def last_reads(self) -> list[int]:
        """Of each value, the place of the last op that reads it: -1 for none, the number of ops for what is returned."""
        last = [-1] * len(self.specs())
        for place, op in enumerate(self.ops):
            for tensor in reads(op):
                if isinstance(tensor, Value):
                    last[tensor.index] = place
        for index in self.outputs:
            last[index] = len(self.ops)
        return last

    def first_values(self) -> list[int]:
        """Of each op, the number of its first result."""
        first, numbers = len(self.inputs), []
        for op in self.ops:
            numbers.append(first)
            first += len(op.outputs)
        return numbers


def walk(argument: Argument) -> Iterator[Value | Weight]:
    """All tensors in an argument, in order.

    >>> list(walk(Many((Value(0), Many((1, Weight("a")))))))
    [Value(index=0), Weight(name='a')]
    """
    if isinstance(argument, (Value, Weight)):
        yield argument
    elif isinstance(argument, Many):
        for part in argument.items:
            yield from walk(part)


def reads(op: Op) -> Iterator[Value | Weight]:
    """All tensors that an op reads."""
    for argument in (*op.args, *op.keywords.values()):
        yield from walk(argument)


def family_key(graph: Graph) -> str:
    """Equal for models that differ in the numbers of their weights alone, whatever these are called.

    Hexadecimal SHA-256 of operators, constants, edges, and shapes and types of inputs and weights.
    """
    canonical = renamed(graph, {name: f"w{place}" for place, name in enumerate(weight_order(graph))})
    return hashlib.sha256(msgspec.json.encode(canonical, order="deterministic")).hexdigest()


def weight_order(graph: Graph) -> list[str]:
    """Names of the weights in the order of their first use; those that nobody reads are left out."""
    used = (tensor.name for op in graph.ops for tensor in reads(op) if isinstance(tensor, Weight))
    return list(dict.fromkeys(used))


def renamed(graph: Graph, names: Mapping[str, str]) -> Graph:
    """The graph with other names for its weights; what ``names`` leaves out is dropped from ``weights``."""

    def rename(argument: Argument) -> Argument:
        if isinstance(argument, Weight):
            return Weight(names[argument.name])
        return Many(tuple(map(rename, argument.items))) if isinstance(argument, Many) else argument

    ops = [
        Op(op.target, tuple(map(rename, op.args)), op.outputs, {key: rename(each) for key, each in op.keywords.items()})
        for op in graph.ops
    ]
    weights = {names[name]: spec for name, spec in graph.weights.items() if name in names}
    return msgspec.structs.replace(graph, ops=tuple(ops), weights=weights)

"""Runs of operators that the library of chains knows: each becomes one call, whoever's weights it reads."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import torch
from torch import Tensor

from paceline.multiplex.lower.calls import constant, function_of, resolved
from paceline.multiplex.lower.form import Form
from paceline.multiplex.lower.lying import NUM_ROWS, Lying, Unfit, num_vectors, row, viewed
from paceline.multiplex.lower.writer import Writer
from paceline.multiplex.native import library
from paceline.multiplex.native.chain import Chain
from paceline.multiplex.op import Argument, Graph, Many, Op, Rows, Spec, Value, Weight, reads

TABLE: Final = "table"
"""The variant of operators that run in a chain: weights are found by their address, so that any tenants run together."""

_MOST_KEYS: Final = 64  # of attention; torch has kernels for more
_VIEWS: Final = frozenset(
    f"aten.{name}"
    for name in ("reshape.default", "permute.default", "transpose.int", "select.int", "slice.Tensor")
) | {"aten.split_with_sizes.default"}  # fmt: skip
_UNARY: Final = frozenset(f"aten.{name}.default" for name in ("relu", "sigmoid", "tanh", "silu"))
_BINARY: Final = {"aten.add.Tensor": "add", "aten.sub.Tensor": "sub", "aten.mul.Tensor": "mul"}


@final
@dataclass(eq=False)
class Tracer:
    """The chain that is being put together from the operators of a graph, in order."""

    graph: Graph
    steps: list[library.Step] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)  # values from outside
    sizes: list[int] = field(default_factory=list)  # of buffers, for one row
    values: dict[int, Lying] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._specs = self.graph.specs()
        self._reads = _num_reads(self.graph)
        self._given: dict[int, int] = {}  # buffer by value
        self._last: tuple[int, library.Step] | None = None  # value and step that nobody has read yet

    def add(self, op: Op, first: int) -> bool:
        """Appends an operator; False, and nothing has changed, if it cannot be part of this chain."""
        kept: tuple[list[Any], ...] = (self.steps, self.weights, self.taken, self.sizes)
        lengths, values, last = [len(items) for items in kept], dict(self.values), self._last
        try:
            self._add(op, first)
        except Unfit:
            for items, length in zip(kept, lengths, strict=True):
                del items[length:]
            self.values, self._last = values, last
            return False
        return True

    def seal(self, stop: int) -> bool:
        """Ends the chain before the op of this place; False if nobody reads what it gives, or it cannot be given."""
        try:
            for index, lying in self.wanted(stop):
                is_whole = lying.tensor.is_contiguous() and lying.tensor.numel() == self.sizes[lying.buffer] * NUM_ROWS
                if not is_whole or lying.buffer in (*self._given.values(), *self._taken_buffers()):
                    lying = self._copied(lying)
                self._given[index] = lying.buffer
        except Unfit:
            return False
        return bool(self._given)

    def finish(self, w: Writer) -> Chain:
        """Writes the call of the chain."""
        given = self._given
        first = [self.values[index].buffer for index in self.taken]
        order = [*first, *given.values()]
        order += [buffer for buffer in range(len(self.sizes)) if buffer not in order]
        numbers = {buffer: place for place, buffer in enumerate(order)}
        for step in self.steps:
            for view in (*step.sources, step.result):
                view.buffer = numbers[view.buffer] if view.buffer >= 0 else view.buffer
        is_shared = not any(name in w.group.stacked for name in self.weights)
        chain = Chain(
            self.steps,
            [self.sizes[buffer] for buffer in order],
            [row(w.specs[index]) for index in self.taken],
            [row(w.specs[index]) for index in given],
            [[w.group.shared[name]] if is_shared else w.group.parts(name) for name in self.weights],
            w.group.aim,
        )
        form = Form.FLAT if is_shared else Form.SPLIT
        names = [w.get(index, form) for index in self.taken]
        results = w.call_results(chain.flat if is_shared else chain.split, len(given), *names)
        for index, name in zip(given, results, strict=True):
            w.give(index, form, name)
        return chain

    # ── operators ────────────────────────────────────────────────────────────────────────────

    def _add(self, op: Op, first: int) -> None:
        if any(spec.dtype != "float32" for spec in op.outputs) or not isinstance(op.outputs[0].shape[0], Rows):
            raise Unfit
        if op.target in _VIEWS:
            self._view(op, first)
        elif op.target in _UNARY or op.target == "aten.gelu.default":
            self._unary(op, first)
        elif op.target in _BINARY and len(op.args) == 2 and not op.keywords:
            self._step(library.BINARY, op, first, op.args, function=library.BINARIES.index(_BINARY[op.target]))
        elif op.target in _KERNELS and not op.keywords:
            _KERNELS[op.target](self, op, first)
        else:
            raise Unfit

    def _view(self, op: Op, first: int) -> None:
        source = self._lying(op.args[0])
        function = Tensor.view if op.target == "aten.reshape.default" else function_of(op.target)
        arguments = [resolved(each, _unfit, _unfit, NUM_ROWS.__mul__) for each in op.args[1:]]
        try:
            made = function(source.tensor, *arguments)
        except RuntimeError:  # its numbers would have to move
            raise Unfit from None
        tensors = made if isinstance(made, (tuple, list)) else (made,)
        for place, (tensor, spec) in enumerate(zip(tensors, op.outputs, strict=True)):
            if not isinstance(spec.shape[0], Rows):
                raise Unfit
            self.values[first + place] = Lying(source.buffer, tensor)

    def _unary(self, op: Op, first: int) -> None:
        name = op.target.split(".")[1]
        if name == "gelu" and op.keywords.get("approximate") == "tanh":
            name = "gelu-tanh"
        elif op.keywords and op.keywords != {"approximate": "none"}:
            raise Unfit
        if len(op.args) != 1:
            raise Unfit
        function, source = library.UNARIES.index(name), op.args[0]
        if self._last is not None and isinstance(source, Value) and self._reads[source.index] == 1:
            index, step = self._last
            if index == source.index and step.kind in (library.LINEAR, library.LAYER_NORM) and step.function == 0:
                self.values[first] = self.values[index]
                step.function = function
                self._last = None
                return
        self._step(library.UNARY, op, first, [source], function=function)

    def _linear(self, op: Op, first: int) -> None:
        value, weight, bias, *_ = (*op.args, None)
        if not isinstance(weight, Weight) or not isinstance(bias, (Weight, type(None))):
            raise Unfit
        self._step(library.LINEAR, op, first, [value], [weight, bias])

    def _layer_norm(self, op: Op, first: int) -> None:
        value, size, scale, shift, epsilon = (*op.args, *(None, None, 1e-5)[len(op.args) - 2 :])[:5]
        if not isinstance(size, Many) or len(size.items) != 1 or not isinstance(epsilon, (int, float)):
            raise Unfit
        self._step(library.LAYER_NORM, op, first, [value], [scale, shift], number=float(epsilon))

    def _attention(self, op: Op, first: int) -> None:
        query, key, value = self._specs_of(op.args[:3])
        if len(op.args) != 3 or any(len(spec.shape) != 4 for spec in (query, key, value)):
            raise Unfit
        heads, places, width = query.sizes(1)[1:]
        if key.sizes(1)[1] != heads or value.sizes(1)[1:3] != key.sizes(1)[1:3] or key.sizes(1)[2] > _MOST_KEYS:
            raise Unfit
        out = torch.empty((NUM_ROWS, places, heads, value.sizes(1)[3]), device="meta").transpose(1, 2)
        self._step(library.ATTENTION, op, first, op.args, number=1 / math.sqrt(width), out=out, joins=False)

    def _lstm(self, op: Op, first: int) -> None:
        value, state, weights, has_biases, *options = op.args
        if state is not None or not isinstance(weights, Many) or constant(Many(tuple(options))) != _ONE_LAYER:
            raise Unfit
        if any(self._reads[first + place] for place in (1, 2)) or len(weights.items) != (4 if has_biases else 2):
            raise Unfit
        self._step(library.LSTM, op, first, [value], weights.items, joins=False)

    def _step(
        self,
        kind: int,
        op: Op,
        first: int,
        sources: Sequence[Argument],
        weights: Sequence[Argument] = (),
        *,
        function: int = 0,
        number: float = 0.0,
        out: Tensor | None = None,
        joins: bool = True,
    ) -> None:
        """``joins``: the kernel takes all dimensions before the last as so many vectors."""
        step = library.Step(kind=kind, function=function, number=number)
        step.weights[:] = [self._row_of(each) for each in (*weights, *[None] * 4)[:4]]
        shape = op.outputs[0].sizes(NUM_ROWS)
        pairs = [self._source(each, shape if kind == library.BINARY else None) for each in sources]
        result = Lying(len(self.sizes), torch.empty(shape, device="meta") if out is None else out)
        self.sizes.append(math.prod(shape) // NUM_ROWS)
        for place, (buffer, tensor) in enumerate(pairs):
            step.sources[place] = viewed(buffer, tensor, joins=joins)
        step.result = viewed(result.buffer, result.tensor, joins=joins)
        if joins and any(num_vectors(step.sources[place]) != num_vectors(step.result) for place in range(len(pairs))):
            raise Unfit
        self.steps.append(step)
        self.values[first] = result
        self._last = (first, step)

    # ── what they read and give ──────────────────────────────────────────────────────────────

    def _source(self, argument: Argument, shape: tuple[int, ...] | None) -> tuple[int, Tensor]:
        """The buffer, or a weight as the library numbers it, and how it lies, in this ``shape`` if it must be repeated."""
        if isinstance(argument, Weight):
            buffer = -1 - self._row_of(argument)
            tensor = torch.empty(self.graph.weights[argument.name].sizes(1), device="meta")
        else:
            lying = self._lying(argument)
            buffer, tensor = lying.buffer, lying.tensor
        try:
            return buffer, tensor if shape is None else tensor.expand(shape)
        except RuntimeError:
            raise Unfit from None

    def _lying(self, argument: Argument) -> Lying:
        if not isinstance(argument, Value):
            raise Unfit
        if argument.index not in self.values:
            spec = self._specs[argument.index]
            if spec.dtype != "float32" or not spec.shape or not isinstance(spec.shape[0], Rows):
                raise Unfit
            tensor = torch.empty(spec.sizes(NUM_ROWS), device="meta")
            self.values[argument.index] = Lying(len(self.sizes), tensor)
            self.sizes.append(tensor.numel() // NUM_ROWS)
            self.taken.append(argument.index)
        return self.values[argument.index]

    def _row_of(self, argument: Argument) -> int:
        if argument is None:
            return -1
        if not isinstance(argument, Weight) or self.graph.weights[argument.name].dtype != "float32":
            raise Unfit
        if argument.name not in self.weights:
            self.weights.append(argument.name)
        return self.weights.index(argument.name)

    def _specs_of(self, arguments: Sequence[Argument]) -> list[Spec]:
        if not all(isinstance(each, Value) for each in arguments):
            raise Unfit
        return [self._specs[each.index] for each in arguments if isinstance(each, Value)]

    def _taken_buffers(self) -> set[int]:
        return {self.values[index].buffer for index in self.taken}

    def wanted(self, stop: int) -> list[tuple[int, Lying]]:
        """Values made here that are read later or returned."""
        last = self.graph.last_reads()
        made = [(index, lying) for index, lying in self.values.items() if index not in self.taken]
        return [(index, lying) for index, lying in made if last[index] >= stop]

    def _copied(self, lying: Lying) -> Lying:
        copy = Lying(len(self.sizes), torch.empty(lying.tensor.shape, device="meta"))
        self.sizes.append(copy.tensor.numel() // NUM_ROWS)
        step, pair = library.Step(kind=library.UNARY), (lying.tensor, copy.tensor)
        if lying.tensor.stride(-1) != 1:  # number by number
            pair = (lying.tensor.unsqueeze(-1), copy.tensor.unsqueeze(-1))
        step.sources[0], step.result = viewed(lying.buffer, pair[0]), viewed(copy.buffer, pair[1])
        self.steps.append(step)
        return copy


_ONE_LAYER: Final = (1, 0.0, False, False, True)  # layers, dropout, training, both ways, batch first
_KERNELS: Final[dict[str, Callable[[Tracer, Op, int], None]]] = {
    "aten.linear.default": Tracer._linear,
    "aten.layer_norm.default": Tracer._layer_norm,
    "aten.scaled_dot_product_attention.default": Tracer._attention,
    "aten.lstm.input": Tracer._lstm,
}


def _unfit(_: object) -> Any:
    raise Unfit


def _num_reads(graph: Graph) -> Counter[int]:
    """How often each value is read or returned."""
    read = [tensor.index for op in graph.ops for tensor in reads(op) if isinstance(tensor, Value)]
    return Counter([*read, *graph.outputs])

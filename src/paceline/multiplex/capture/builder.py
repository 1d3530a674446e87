"""Writing a normal graph op by op, and finding out which weights it needs and how they follow from the model's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import msgspec
import torch

from paceline.multiplex.capture.evaluate import dtype_name, infer, overload
from paceline.multiplex.capture.recipe import Recipe, Step, computed
from paceline.multiplex.capture.traced import NotCapturable
from paceline.multiplex.op import Argument, Dtype, Graph, Many, Op, Rows, Spec, Value, Weight, reads
from paceline.multiplex.operators import CONVOLUTION, OPERATORS, POOL, RECURRENT

_TAKES_ROWS: Final = frozenset(("aten.reshape.default", "aten.expand.default"))
_WRITTEN_OUT: Final = CONVOLUTION | POOL  # their readers need every argument
_IGNORED: Final = frozenset(("device", "layout", "pin_memory", "memory_format", "non_blocking"))

Arguments: TypeAlias = dict[str, Any]
"""By the names of the operator's schema. Tensors are cells, several arguments are lists; what is left out is default."""


@dataclass(slots=True, eq=False)
class Cell:
    """One tensor of the traced model.

    ``rows_at`` is the dimension in which the traced model has its rows. What is stored has them in dimension 0 and the
    others in their order, so that moving the rows about costs nothing. A ``shared`` cell has memory in common with
    something else, and cannot be written to; ``read_once`` says that a single call of the traced model reads it.
    """

    tensor: Value | Weight
    spec: Spec  # as stored
    rows_at: int = 0
    shared: bool = False
    read_once: bool = True

    @property
    def is_weight(self) -> bool:
        return isinstance(self.tensor, Weight)

    @property
    def rank(self) -> int:
        return len(self.spec.shape)

    def place(self, dim: int) -> int:
        """Where the dimension that the traced model calls ``dim`` is stored."""
        dim %= self.rank
        return 0 if dim == self.rows_at else dim + (dim < self.rows_at)

    def sizes(self) -> list[int | Rows]:
        """As the traced model has them."""
        return [self.spec.shape[self.place(dim)] for dim in range(self.rank)]

    def copy(self) -> Cell:
        """The same numbers in memory of its own."""
        return replace(self, shared=False)

    def with_rows_at(self, rows_at: int) -> Cell:
        """A view that is stored in the same way."""
        return replace(self, rows_at=rows_at)


class Builder:
    """A graph being written. ``state`` holds the model's parameters, buffers and constants by name."""

    def __init__(self, inputs: Sequence[Spec], state: Mapping[str, torch.Tensor]) -> None:
        self._inputs = tuple(inputs)
        self._specs = list(inputs)
        self._ops: list[Op] = []
        self._producers: list[int | None] = [None] * len(inputs)  # of each value
        self._state = state
        self._tensors = {name: tensor.detach() for name, tensor in state.items()}
        self._weight_specs: dict[str, Spec] = {}
        self._steps: list[Step] = []
        self._folded: dict[str, Step] = {}  # by what they compute
        self._made: dict[str, Step] = {}  # by the names they give

    def cell(self, tensor: Value | Weight, *, rows_at: int = 0, shared: bool = False) -> Cell:
        return Cell(tensor, self._spec(tensor), rows_at, shared)

    def weight(self, name: str) -> Cell:
        return self.cell(Weight(name), shared=True)

    def is_input(self, cell: Cell) -> bool:
        return isinstance(cell.tensor, Value) and cell.tensor.index < len(self._inputs)

    def producer(self, cell: Cell) -> Op | None:
        """The op that gives the cell's tensor; None for inputs and the model's own weights."""
        if isinstance(cell.tensor, Weight):
            step = self._made.get(cell.tensor.name)
            return None if step is None else step.op
        place = self._producers[cell.tensor.index]
        return None if place is None else self._ops[place]

    def emit(self, target: str, arguments: Arguments, *, rows_at: int = 0, name: str = "") -> list[Cell]:
        """Adds an op; one that reads weights alone is computed now instead, and ``name`` names its result.

        Raises NotCapturable if the operator is not on the list, or does not leave the rows in dimension 0.
        """
        op = packed(target, arguments)
        flat = [each for argument in (*op.args, *op.keywords.values()) for each in _flat(argument)]
        has_rows = any(isinstance(each, Rows) for each in flat)
        if not has_rows and not any(isinstance(tensor, Value) for tensor in reads(op)):
            return self._fold(op, name)
        if target not in OPERATORS:
            raise NotCapturable(f"it uses {target}, which is not on the list of operators")
        if has_rows and target not in _TAKES_ROWS:
            raise NotCapturable(f"it uses the number of rows as a number, in {target}")
        if any(isinstance(each, float) and not math.isfinite(each) for each in flat):  # JSON has no word for it
            raise NotCapturable(f"{target} takes a number that is infinite or none")
        specs = infer(op, self._spec)
        for spec in specs[:1] if target in RECURRENT else specs:
            check_rows(target, spec)
        first = len(self._specs)
        self._producers += [len(self._ops)] * len(specs)
        self._specs += specs
        self._ops.append(msgspec.structs.replace(op, outputs=specs))
        return [self.cell(Value(first + place), rows_at=rows_at) for place in range(len(specs))]

    def emit_one(self, target: str, arguments: Arguments, *, rows_at: int = 0, name: str = "") -> Cell:
        """The first result of ``emit``."""
        return self.emit(target, arguments, rows_at=rows_at, name=name)[0]

    def rewrite(self, cell: Cell, arguments: Arguments) -> None:
        """Changes arguments of the op that gives the cell's value; its result must stay of the same shape."""
        assert isinstance(cell.tensor, Value)
        place = self._producers[cell.tensor.index]
        assert place is not None
        old = self._ops[place]
        new = packed(old.target, named(old) | arguments)
        self._ops[place] = msgspec.structs.replace(new, outputs=old.outputs)

    def _spec(self, tensor: Value | Weight) -> Spec:
        if isinstance(tensor, Value):
            return self._specs[tensor.index]
        if tensor.name not in self._weight_specs:
            held = self._tensors[tensor.name]
            self._weight_specs[tensor.name] = Spec(tuple(held.shape), dtype_name(held.dtype))
        return self._weight_specs[tensor.name]

    def _fold(self, op: Op, name: str) -> list[Cell]:
        known = self._folded.get(repr(op))
        if known is None:
            try:
                results = computed(op, self._tensors)
            except (RuntimeError, TypeError, ValueError, IndexError) as error:
                raise NotCapturable(f"{op.target} of its weights: {str(error).splitlines()[0]}") from error
            source = next((tensor.name for tensor in reads(op) if isinstance(tensor, Weight)), "constant")
            wanted = name or f"{source}.{op.target.split('.')[1]}"
            known = Step(tuple(self._free(wanted, result) for result in results), op)
            self._steps.append(known)
            self._folded[repr(op)] = known
            self._made |= dict.fromkeys(known.names, known)
        return [self.cell(Weight(each)) for each in known.names]

    def _free(self, wanted: str, tensor: torch.Tensor) -> str:
        """Keeps a computed weight under a name that nothing else has."""
        number, name = 1, wanted
        while name in self._tensors:
            number, name = number + 1, f"{wanted}.{number + 1}"
        self._tensors[name] = tensor
        return name

    def finish(self, outputs: Sequence[Cell]) -> tuple[Graph, Recipe]:
        """The graph without what nobody reads, and how to make its weights. Raises NotCapturable."""
        for cell in outputs:
            if cell.is_weight:
                raise NotCapturable("it returns a constant")
            if cell.rows_at:
                raise NotCapturable(f"it returns a tensor with its rows in dimension {cell.rows_at}, not 0")
        numbers = [cell.tensor.index for cell in outputs if isinstance(cell.tensor, Value)]
        ops, new_numbers = _live(len(self._inputs), self._ops, numbers)
        used = dict.fromkeys(each.name for op in ops for each in reads(op) if isinstance(each, Weight))
        weights = {name: self._spec(Weight(name)) for name in used}
        graph = Graph(self._inputs, tuple(ops), tuple(new_numbers), weights, "tuple")
        return graph, self._recipe(used)

    def _recipe(self, names: Iterable[str]) -> Recipe:
        wanted = set(names)
        steps: list[Step] = []
        for step in reversed(self._steps):
            if not wanted.isdisjoint(step.names):
                steps.append(step)
                wanted.update(tensor.name for tensor in reads(step.op) if isinstance(tensor, Weight))
        sources = {name: self._spec(Weight(name)) for name in self._state if name in wanted}
        return Recipe(sources, {}, tuple(reversed(steps)), tuple(names))


def check_rows(target: str, spec: Spec) -> None:
    """Raises NotCapturable unless the rows, and nothing else, are in dimension 0."""
    places = [place for place, size in enumerate(spec.shape) if isinstance(size, Rows)]
    if places != [0]:
        where = f"has its rows in dimension {', '.join(map(str, places))}" if places else "has lost its rows"
        raise NotCapturable(f"{target} joins rows of different requests or moves them: its result {where}")


def _slots(target: str) -> list[Any]:
    """What the operator takes that matters here, in its order."""
    return [slot for slot in overload(target)._schema.arguments if slot.name not in _IGNORED]


def named(op: Op) -> dict[str, Argument]:
    """The arguments of an op by the names of its schema, without those at their defaults."""
    return dict(zip((slot.name for slot in _slots(op.target)), op.args, strict=False)) | op.keywords


def defaults(target: str) -> Arguments:
    """What the operator takes where nothing is given."""
    return {slot.name: slot.default_value for slot in _slots(target)}


def packed(target: str, arguments: Arguments) -> Op:
    """An op without its results: arguments in the order of the schema, defaults at the end left out."""
    args: list[Argument] = []
    keywords: dict[str, Argument] = {}
    length = 0
    for slot in _slots(target):
        value = arguments.get(slot.name, slot.default_value)
        default = slot.has_default_value() and _same(value, slot.default_value)
        if slot.kwarg_only:
            if not default:
                keywords[slot.name] = _argument(value)
            continue
        args.append(_argument(value))
        if not default or target in _WRITTEN_OUT:
            length = len(args)
    return Op(target, tuple(args[:length]), (), keywords)


def _same(value: object, default: object) -> bool:
    return type(value) is type(default) and not isinstance(value, Cell) and bool(value == default)


def _argument(value: Any) -> Argument:
    if isinstance(value, Cell):
        return value.tensor
    if isinstance(value, (list, tuple)):
        return Many(tuple(map(_argument, value)))
    if isinstance(value, torch.dtype):
        return Dtype(dtype_name(value))
    if value is None or isinstance(value, (bool, int, float, str, Rows, Value, Weight, Many, Dtype)):
        return value
    raise NotCapturable(f"an argument is a {type(value).__name__}")


def _flat(argument: Argument) -> Iterable[Argument]:
    return (each for part in argument.items for each in _flat(part)) if isinstance(argument, Many) else (argument,)


def _live(num_inputs: int, ops: Sequence[Op], outputs: Sequence[int]) -> tuple[list[Op], list[int]]:
    """The ops that the outputs need, with their values numbered anew."""
    firsts = Graph((Spec((), ""),) * num_inputs, tuple(ops), (), {}).first_values()
    wanted = set(outputs)
    kept: list[tuple[int, Op]] = []
    for first, op in zip(reversed(firsts), reversed(ops), strict=True):
        if wanted.isdisjoint(range(first, first + len(op.outputs))):
            continue
        kept.append((first, op))
        wanted.update(tensor.index for tensor in reads(op) if isinstance(tensor, Value))
    numbers = {number: number for number in range(num_inputs)}
    for first, op in reversed(kept):
        numbers |= {first + place: len(numbers) + place for place in range(len(op.outputs))}
    return [renumbered(op, numbers) for _, op in reversed(kept)], [numbers[number] for number in outputs]


def renumbered(op: Op, numbers: Mapping[int, int]) -> Op:
    """The op on values of other numbers."""

    def renumber(argument: Argument) -> Argument:
        if isinstance(argument, Value):
            return Value(numbers[argument.index])
        return Many(tuple(map(renumber, argument.items))) if isinstance(argument, Many) else argument

    keywords = {name: renumber(argument) for name, argument in op.keywords.items()}
    return Op(op.target, tuple(map(renumber, op.args)), op.outputs, keywords)

"""Running one op as it is written, and finding the shapes it gives, without a copy of ATen's rules."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import torch
from torch._ops import OpOverload

from paceline.multiplex.capture.traced import NotCapturable
from paceline.multiplex.op import Argument, Dtype, Many, Op, Rows, Spec, Value, Weight
from paceline.multiplex.operators import RECURRENT

Read: TypeAlias = Callable[[Value | Weight], Any]

TRIAL_ROWS: Final = (7, 11)  # primes, so that a size which follows the rows is known from two trials


@functools.cache
def overload(target: str) -> OpOverload:
    """The operator that "aten.<name>.<overload>" names; a KeyError if this torch has none.

    >>> overload("aten.relu.default")
    <OpOverload(op='aten.relu', overload='default')>
    """
    space, name, variant = target.split(".")
    found = getattr(getattr(torch.ops.aten, name, None), variant, None) if space == "aten" else None
    if not isinstance(found, OpOverload):
        raise KeyError(target)
    return found


def dtype_name(dtype: torch.dtype) -> str:
    """
    >>> dtype_name(torch.float32)
    'float32'
    """
    return str(dtype).removeprefix("torch.")


def dtype_of(name: str) -> torch.dtype:
    """The type of numbers called ``name``; a KeyError if there is none."""
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise KeyError(name)
    return found


def call(op: Op, read: Read, num_rows: int) -> tuple[torch.Tensor, ...]:
    """What ``op`` gives; ``read`` finds the tensors it reads. Raises what torch raises."""
    args, keywords = called(op, read, num_rows)
    result = overload(op.target)(*args, **keywords)
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def called(op: Op, read: Read, num_rows: int) -> tuple[list[Any], dict[str, Any]]:
    """The arguments with which ``op`` calls its operator."""
    args = [_plain(argument, read, num_rows) for argument in op.args]
    if op.target in RECURRENT:
        args[1] = _first_states(op.target, args[0], args[2], bidirectional=args[7])
    return args, {name: _plain(argument, read, num_rows) for name, argument in op.keywords.items()}


def _plain(argument: Argument, read: Read, num_rows: int) -> Any:
    if isinstance(argument, (Value, Weight)):
        return read(argument)
    if isinstance(argument, Many):
        return [_plain(each, read, num_rows) for each in argument.items]
    if isinstance(argument, Rows):
        return argument.factor * num_rows
    return dtype_of(argument.name) if isinstance(argument, Dtype) else argument


def _first_states(target: str, inputs: torch.Tensor, params: Sequence[torch.Tensor], *, bidirectional: bool) -> Any:
    """Zeros, with which every recurrent op starts."""
    state = inputs.new_zeros(2 if bidirectional else 1, len(inputs), params[1].shape[1])  # [D, R, H]
    return [state, state] if target == "aten.lstm.input" else state


def infer(op: Op, spec_of: Callable[[Value | Weight], Spec]) -> tuple[Spec, ...]:
    """Shapes and types of what ``op`` gives. Raises NotCapturable where they do not follow the rows plainly."""
    if op.target in RECURRENT:
        return _recurrent(op, spec_of)
    few, many = (_shapes(op, spec_of, num_rows) for num_rows in TRIAL_ROWS)
    return tuple(
        Spec(tuple(map(functools.partial(_size, op.target), small.shape, large.shape)), dtype_name(small.dtype))
        for small, large in zip(few, many, strict=True)
    )


def _shapes(op: Op, spec_of: Callable[[Value | Weight], Spec], num_rows: int) -> tuple[torch.Tensor, ...]:
    def read(tensor: Value | Weight) -> torch.Tensor:
        spec = spec_of(tensor)
        return torch.empty(spec.sizes(num_rows), dtype=dtype_of(spec.dtype), device="meta")

    try:
        return call(op, read, num_rows)
    except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
        raise NotCapturable(f"{op.target} does not take {num_rows} rows here: {str(error).splitlines()[0]}") from error


def _size(target: str, few: int, many: int) -> int | Rows:
    if few == many:
        return few
    factor, rest = divmod(few, TRIAL_ROWS[0])
    if rest == 0 and many == factor * TRIAL_ROWS[1]:
        return Rows(factor)
    raise NotCapturable(f"{target} gives a size that is no multiple of the number of rows")


def _recurrent(op: Op, spec_of: Callable[[Value | Weight], Spec]) -> tuple[Spec, ...]:
    """By hand: on the meta device torch takes every step of the sequence."""
    source, _, params, *_, bidirectional, _ = op.args
    assert isinstance(source, Value)
    assert isinstance(params, Many)
    assert isinstance(params.items[1], Weight)
    rows, steps, _ = spec_of(source).shape
    hidden, directions = spec_of(params.items[1]).shape[1], 2 if bidirectional else 1
    assert isinstance(hidden, int)
    dtype = spec_of(source).dtype
    states = [Spec((directions, rows, hidden), dtype)] * (2 if op.target == "aten.lstm.input" else 1)
    return Spec((rows, steps, directions * hidden), dtype), *states

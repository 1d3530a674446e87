"""Operators without weights of single tenants: as they are, in the form that costs no change of it."""

from __future__ import annotations

from typing import Any, Final

from torch import Tensor

from paceline.multiplex.lower.calls import resolved
from paceline.multiplex.lower.form import Form
from paceline.multiplex.lower.plain import plain_function
from paceline.multiplex.lower.writer import Name, Writer
from paceline.multiplex.op import Argument, Many, Op, Value, Weight, reads
from paceline.multiplex.operators import ATTENTION, CONVOLUTION, MATRIX, NORM, POINTWISE, POOL, REDUCTIONS, RESIZE

_OWN_MEMORY: Final = ATTENTION | CONVOLUTION | MATRIX | NORM | POINTWISE | POOL | REDUCTIONS | RESIZE
"""What gives new tensors, not views of what it read."""

_OVER_SPACE: Final = frozenset(target for target in POOL | RESIZE if "1d" in target or "2d" in target)
_LAST: Final = frozenset({"aten.linear.default", "aten.layer_norm.default", "aten.rms_norm.default"})
"""What looks at the last dimensions alone, however many stand before."""
_RESHAPE: Final = "aten.reshape.default"
_ALONG_LAST: Final = frozenset({"aten.softmax.int", "aten.log_softmax.int"})


def as_it_is(w: Writer, op: Op, first: int, variant: str) -> bool:
    """Writes the operator as one tenant has it, over the rows of all."""
    form = _form(w, op)
    if op.target == _RESHAPE:
        arguments = [_given(w, op.args[0], form), _sizes(w, form, first)]
    else:
        arguments = [_given(w, each, form) for each in op.args]
    keywords = {key: _given(w, each, form) for key, each in op.keywords.items()}
    names = w.call_results(plain_function(op), len(op.outputs), *arguments, shares=_shared(w, op, form), **keywords)
    for place, name in enumerate(names):
        w.give(first + place, form, name)
    return True


def _given(w: Writer, argument: Argument, form: Form) -> Any:
    return resolved(argument, lambda index: w.get(index, form), w.group.shared.__getitem__, w.num_rows)


def _form(w: Writer, op: Op) -> Form:
    value = next((tensor for tensor in reads(op) if isinstance(tensor, Value)), None)
    if value is None:
        return Form.FLAT
    form, rank = w.form(value.index), len(w.feature(value.index))
    if form is Form.GROUPED and _keeps_channels(w, op, rank):
        return Form.GROUPED
    if form is Form.SPLIT and (op.target in _LAST or _along_last(op, rank) or op.target == _RESHAPE):
        return Form.SPLIT if rank else Form.FLAT
    return Form.FLAT


def _along_last(op: Op, rank: int) -> bool:
    return op.target in _ALONG_LAST and op.args[1] == -1 and rank > 0


def _keeps_channels(w: Writer, op: Op, rank: int) -> bool:
    """Whether an operator treats every channel by itself, so that the channels of all tenants may stand side by side."""
    if op.target in _OVER_SPACE:
        return rank == (3 if "2d" in op.target else 2)
    if op.target == "aten.mean.dim" and len(op.args) > 1:
        dims = op.args[1].items if isinstance(op.args[1], Many) else (op.args[1],)
        return all(isinstance(dim, int) and dim % (rank + 1) >= 2 for dim in dims)
    if op.target == _RESHAPE:
        rows = w.specs[next(tensor.index for tensor in reads(op) if isinstance(tensor, Value))].shape[0]
        return len(op.outputs[0].shape) >= 2 and op.outputs[0].shape[0] == rows
    return False


def _sizes(w: Writer, form: Form, first: int) -> tuple[int, ...]:
    feature = w.feature(first)
    if form is Form.SPLIT:
        return (w.num_tenants, -1, *feature)
    if form is Form.GROUPED:
        return (-1, w.num_tenants * feature[0], *feature[1:])
    return (-1, *feature)


def _shared(w: Writer, op: Op, form: Form) -> Name | None:
    """Whose memory the result may lie in; where that is not clear, nobody writes over any of them."""
    if op.target in _OWN_MEMORY:
        return None
    names = [w.get(tensor.index, form) for tensor in reads(op) if isinstance(tensor, Value)]
    for name in names[1:]:
        w.pin(name)
    if len(op.outputs) > 1 or any(isinstance(tensor, Weight) for tensor in reads(op)):
        for name in names:
            w.pin(name)
    return names[0] if names else None


def expand(w: Writer, op: Op, first: int, variant: str) -> bool:
    """A weight of each tenant repeated for every row."""
    weight = op.args[0]
    feature = w.feature(first)
    if not isinstance(weight, Weight) or w.group.every(weight.name).dim() > len(feature) + 2:
        return False
    stacked = w.group.every(weight.name)
    shape = stacked.shape[1:] if stacked.dim() <= len(feature) + 1 else stacked.shape[2:]
    aligned = stacked.reshape(w.num_tenants, 1, *[1] * (len(feature) - len(shape)), *shape)
    rows = w.call(int.__floordiv__, w.num_rows(w.factor(first)), w.num_tenants)
    made = w.call(Tensor.expand, aligned, (w.num_tenants, rows, *feature))
    w.pin(made)
    w.give(first, Form.SPLIT, made)
    return True

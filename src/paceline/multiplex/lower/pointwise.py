"""Operators that work number by number: they run in whatever form their values already are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from paceline.multiplex.lower.calls import function_of, resolved
from paceline.multiplex.lower.form import Form
from paceline.multiplex.lower.rule import Rule
from paceline.multiplex.lower.writer import Name, Writer
from paceline.multiplex.op import Op, Value, Weight, reads

_IN_PLACE: Final[dict[str, Callable[..., Tensor]]] = {
    "aten.relu.default": torch.relu_,
    "aten.sigmoid.default": torch.sigmoid_,
    "aten.tanh.default": torch.tanh_,
    "aten.silu.default": torch._C._nn.silu_,
    "aten.hardtanh.default": torch._C._nn.hardtanh_,
    "aten.leaky_relu.default": torch._C._nn.leaky_relu_,
    "aten.add.Tensor": Tensor.add_,
    "aten.sub.Tensor": Tensor.sub_,
    "aten.mul.Tensor": Tensor.mul_,
    "aten.div.Tensor": Tensor.div_,
}


def common_form(w: Writer, values: list[int], weights: list[str]) -> Form | None:
    """A form in which values and weights can meet; None if there is none but FLAT without weights of single tenants."""
    forms = [form for form in Form if all(w.has(index, form) for index in values)]
    wished = [*sorted(forms, key=lambda form: form is not w.form(values[0])), *[w.form(index) for index in values]]
    for form in [*wished, Form.SPLIT]:
        if form is Form.FLAT and any(name in w.group.stacked for name in weights):
            continue
        if all(aligned_shape(w, name, values[0], form) is not None for name in weights):
            return form
    return None


def aligned_shape(w: Writer, weight: str, index: int, form: Form) -> tuple[int, ...] | None:
    """How a weight must lie to be broadcast against this value; None if it cannot."""
    feature = w.feature(index)
    shape = tuple(size for size in w.graph.weights[weight].shape if isinstance(size, int))
    if len(shape) == len(feature) + 1 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) > len(feature):
        return None
    shape = (*[1] * (len(feature) - len(shape)), *shape)
    if form is Form.SPLIT:
        return (w.num_tenants, 1, *shape)
    if form is Form.FLAT:
        return shape
    return (w.num_tenants * shape[0], *shape[1:]) if feature and shape[0] == feature[0] else None


def aligned(w: Writer, weight: str, index: int, form: Form) -> Tensor:
    """The weight, shared or of each tenant, in a shape to meet this value in this form."""
    shape = aligned_shape(w, weight, index, form)
    assert shape is not None
    if weight in w.group.shared:
        if form is Form.GROUPED:
            return w.group.prepared(f"{form.value}{shape}", (weight,), lambda each: each.reshape(shape))
        return w.group.shared[weight]
    return w.group.stacked[weight].reshape(shape)


def _same_rank(w: Writer, values: list[int]) -> bool:
    return len({len(w.feature(index)) for index in values}) == 1


def _write(w: Writer, op: Op, first: int, variant: str) -> bool:
    values = [tensor.index for tensor in reads(op) if isinstance(tensor, Value)]
    weights = [tensor.name for tensor in reads(op) if isinstance(tensor, Weight)]
    if not _same_rank(w, values) or op.target == "aten.prelu.default":
        return False
    form = common_form(w, values, weights)
    if form is None or (form is Form.GROUPED and len({w.feature(index)[0] for index in values}) != 1):
        return False
    value: Callable[[int], Any] = lambda index: w.get(index, form)  # noqa: E731
    weight: Callable[[str], Any] = lambda name: aligned(w, name, values[0], form)  # noqa: E731
    arguments = [resolved(each, value, weight, w.num_rows) for each in op.args]
    keywords = {key: resolved(each, value, weight, w.num_rows) for key, each in op.keywords.items()}
    target = arguments[0]
    in_place = _IN_PLACE.get(op.target)
    if in_place is not None and isinstance(op.args[0], Value) and _fits(w, op.args[0].index, first, target):
        w.give(first, form, w.call(in_place, *arguments, shares=target, **keywords))
    else:
        w.give(first, form, w.call(function_of(op.target), *arguments, **keywords))
    return True


def _fits(w: Writer, index: int, first: int, name: Name) -> bool:
    """Whether the result may be written over what was read."""
    return w.specs[index] == w.specs[first] and w.may_overwrite(index, name)


POINTWISE_RULE = Rule(_write)

"""Convolutions with weights of each tenant."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from paceline.multiplex.lower.calls import constant, function_of
from paceline.multiplex.lower.form import Form
from paceline.multiplex.lower.loop import LOOP
from paceline.multiplex.lower.rule import Rule
from paceline.multiplex.lower.writer import Name, Writer
from paceline.multiplex.op import Graph, Op, Value, Weight

GROUPED = "grouped"
"""One convolution whose groups are the tenants."""
PRODUCT = "product"
"""A batched matrix product over the pixels, or over the patches under the kernel (im2col)."""
LAST = "channels-last"
"""The same with the channels of a pixel side by side in memory; whatever reads the result keeps that order."""
EACH = "each"
"""Tenant by tenant."""


def _variants(graph: Graph, op: Op) -> tuple[str, ...]:
    plain = op.target == "aten.conv2d.default" and _groups(op) == 1
    if not plain:
        return (GROUPED, LAST, EACH) if op.target == "aten.conv2d.default" else (GROUPED, EACH)
    return (GROUPED, LAST, PRODUCT, EACH)


def _exact_variants(graph: Graph, op: Op) -> tuple[str, ...]:
    """Not grouped: what the library does then depends on the number of groups."""
    weight = op.args[1]
    assert isinstance(weight, Weight)
    _, _, *size = graph.weights[weight.name].shape
    is_point = op.target == "aten.conv2d.default" and size == [1, 1] and _groups(op) == 1
    return (PRODUCT, EACH) if is_point else (EACH,)  # patches are more to move than tenants are to call


def _groups(op: Op) -> int:
    groups = op.args[6] if len(op.args) > 6 else 1
    assert isinstance(groups, int)
    return groups


def _options(op: Op) -> tuple[Any, Any, Any]:
    """Stride, padding and dilation."""
    given = [constant(each) for each in op.args[3:6]]
    return (*given, *(1, 0, 1)[len(given) :])


def _conv(w: Writer, op: Op, first: int, variant: str) -> bool:
    value, weight, bias, *_ = (*op.args, None)
    if not isinstance(value, Value) or not isinstance(weight, Weight) or isinstance(bias, Value):
        return False
    if variant == EACH or isinstance(_options(op)[1], str):
        return LOOP(w, op, first, variant)
    bias_name = bias.name if isinstance(bias, Weight) else None
    if weight.name in w.group.shared and bias_name is not None:
        return _with_own_bias(w, op, first, value.index, weight.name, bias_name)
    if variant == PRODUCT and _groups(op) == 1:
        return _as_product(w, op, first, value.index, weight.name, bias_name)
    x = w.get(value.index, Form.GROUPED)
    if variant == LAST:
        x = _channels_last(w, x)
        kernel = w.group.prepared(LAST, (weight.name,), lambda each: _in_order(each.flatten(0, 1)))
    else:
        kernel = w.group.prepared("channels", (weight.name,), _flattened)
    shift = None if bias_name is None else w.group.prepared("channels", (bias_name,), _flattened)
    groups = w.num_tenants * _groups(op)
    w.give(first, Form.GROUPED, w.call(function_of(op.target), x, kernel, shift, *_options(op), groups))
    return True


def _with_own_bias(w: Writer, op: Op, first: int, value: int, weight: str, bias: str) -> bool:
    """The kernels are shared, the biases alone differ."""
    kernel = w.group.shared[weight]
    flat = w.call(function_of(op.target), w.get(value, Form.FLAT), kernel, None, *_options(op), _groups(op))
    feature = w.feature(first)
    split = w.call(Tensor.reshape, flat, (w.num_tenants, -1, *feature), shares=flat)
    shift = w.group.stacked[bias].view(w.num_tenants, 1, -1, *[1] * (len(feature) - 1))
    w.give(first, Form.SPLIT, w.call(Tensor.add_, split, shift, shares=split))
    return True


def _flattened(stacked: Tensor) -> Tensor:
    """``[R, O, …] -> [R * O, …]``: a view unless the stack was gathered with gaps."""
    return stacked.flatten(0, 1)


def _as_product(w: Writer, op: Op, first: int, value: int, weight: str, bias: str | None) -> bool:
    kernel = w.group.every(weight)  # [R, O, C, h, w]
    num_outputs = kernel.shape[1]
    patches = _patches(w, op, value, first, tuple(kernel.shape[3:]))  # [R, n, C * h * w, pixels]
    made = w.call(torch.matmul, kernel.flatten(2).unsqueeze(1), patches)
    if bias is not None:
        made = w.call(Tensor.add_, made, w.group.every(bias)[:, None, :, None], shares=made)
    feature = w.feature(first)
    assert feature[0] == num_outputs
    w.give(first, Form.FLAT, w.call(Tensor.reshape, made, (-1, *feature), shares=made))
    return True


def _patches(w: Writer, op: Op, value: int, first: int, size: tuple[int, ...]) -> Name:
    channels, *pixels = w.feature(value)
    stride, padding, dilation = _options(op)
    point = math.prod(size) == 1 and _all(stride, 1) and _all(padding, 0)
    x = w.get(value, Form.FLAT)
    if point:
        return w.call(Tensor.reshape, x, (w.num_tenants, -1, channels, math.prod(pixels)), shares=x)
    columns = w.call(functional.unfold, x, size, dilation, padding, stride)
    shape = (w.num_tenants, -1, channels * math.prod(size), math.prod(w.feature(first)[1:]))
    return w.call(Tensor.reshape, columns, shape, shares=columns)


def _all(sizes: int | tuple[int, ...], size: int) -> bool:
    return all(each == size for each in (sizes if isinstance(sizes, tuple) else (sizes,)))


def _channels_last(w: Writer, x: Name) -> Name:
    return w.call(functools.partial(Tensor.contiguous, memory_format=torch.channels_last), x, shares=x)


def _in_order(kernel: Tensor) -> Tensor:
    return kernel.contiguous(memory_format=torch.channels_last)


def _shared(w: Writer, op: Op, first: int, variant: str) -> bool:
    value, weight, bias, *_ = (*op.args, None)
    if variant != LAST or not isinstance(value, Value) or not isinstance(weight, Weight):
        return False
    x = _channels_last(w, w.get(value.index, Form.FLAT))
    kernel = w.group.prepared_shared(LAST, weight.name, _in_order)
    shift = w.group.shared[bias.name] if isinstance(bias, Weight) else None
    w.give(first, Form.FLAT, w.call(torch.conv2d, x, kernel, shift, *_options(op), _groups(op)))
    return True


CONV1D = Rule(_conv, _variants, exact=_exact_variants)
CONV2D = Rule(
    _conv, _variants, exact=_exact_variants, shared=_shared, shared_variants=(LAST,), copying=frozenset({LAST})
)

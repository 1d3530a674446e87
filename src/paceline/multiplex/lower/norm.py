"""Normalisations: the same for all tenants, then scale and shift of each."""

from __future__ import annotations

import torch
from torch import Tensor

from paceline.multiplex.lower.form import Form
from paceline.multiplex.lower.rule import Rule
from paceline.multiplex.lower.writer import Name, Writer
from paceline.multiplex.op import Argument, Many, Op, Value, Weight


def _per_tenant(w: Writer, argument: Argument, rank: int, shape: tuple[int, ...]) -> Tensor | None:
    """A weight as ``[R, 1, …, *shape]`` for a value with ``rank`` dimensions besides tenants and rows."""
    if not isinstance(argument, Weight):
        return None
    if argument.name in w.group.shared:
        return w.group.shared[argument.name].view(shape)
    return w.group.stacked[argument.name].view(w.num_tenants, 1, *[1] * (rank - len(shape)), *shape)


def _arguments(op: Op) -> tuple[Argument, ...]:
    """Value, what is normalised, scale, shift and epsilon."""
    return (*op.args, *(None, None, 1e-5)[len(op.args) - 2 :])[:5]


def _scaled(w: Writer, made: Name, scale: Tensor | None, shift: Tensor | None) -> Name:
    if scale is not None and shift is not None:
        return w.call(torch.addcmul, shift, made, scale)
    if scale is not None:
        return w.call(Tensor.mul_, made, scale, shares=made)
    return made if shift is None else w.call(Tensor.add_, made, shift, shares=made)


def _layer_norm(w: Writer, op: Op, first: int, variant: str) -> bool:
    value, size, scale, shift, epsilon = _arguments(op)
    assert isinstance(value, Value)
    assert isinstance(size, Many)
    shape = w.feature(value.index)[-len(size.items) :]
    if len(shape) < len(size.items):  # it would reach over the rows
        return False
    rank = len(w.feature(value.index))
    made = w.call(torch.layer_norm, w.get(value.index, Form.SPLIT), shape, None, None, epsilon)
    result = _scaled(w, made, _per_tenant(w, scale, rank, shape), _per_tenant(w, shift, rank, shape))
    w.give(first, Form.SPLIT, result)
    return True


def _group_norm(w: Writer, op: Op, first: int, variant: str) -> bool:
    value, groups, scale, shift, epsilon = _arguments(op)
    assert isinstance(value, Value)
    feature = w.feature(value.index)
    if w.has(value.index, Form.GROUPED) and isinstance(scale, Weight) and isinstance(shift, Weight):
        affine = [w.group.every(each.name).reshape(-1) for each in (scale, shift)]
        assert isinstance(groups, int)
        grouped = w.get(value.index, Form.GROUPED)
        w.give(first, Form.GROUPED, w.call(torch.group_norm, grouped, groups * w.num_tenants, *affine, epsilon))
        return True
    channels = (feature[0], *[1] * (len(feature) - 1))
    flat = w.call(torch.group_norm, w.get(value.index, Form.FLAT), groups, None, None, epsilon)
    made = w.call(Tensor.view, flat, (w.num_tenants, -1, *feature), shares=flat)
    scaled = _scaled(
        w, made, _per_tenant(w, scale, len(feature), channels), _per_tenant(w, shift, len(feature), channels)
    )
    w.give(first, Form.SPLIT, scaled)
    return True


LAYER_NORM = Rule(_layer_norm, may_chain=True)
GROUP_NORM = Rule(_group_norm)

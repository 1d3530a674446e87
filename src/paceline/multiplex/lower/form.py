"""How the values of R tenants lie in one tensor, and how to get from one way to another.

A value that is ``[n, *feature]`` for one tenant is one of

- FLAT ``[R * n, *feature]``: tenants are just more rows, so any operator without weights runs as it is;
- SPLIT ``[R, n, *feature]``: what a batched matrix product with one matrix per tenant takes;
- GROUPED ``[n, R * C, *rest]`` with ``feature = (C, *rest)``: what a grouped convolution takes.

FLAT and SPLIT are the same bytes. GROUPED is so too while n = 1.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

Step = tuple[Callable[..., Tensor], tuple[Any, ...]]


class Form(enum.Enum):
    FLAT = "flat"
    SPLIT = "split"
    GROUPED = "grouped"


def steps(source: Form, target: Form, feature: tuple[int, ...], num_tenants: int) -> list[Step]:
    """Calls that bring a tensor from one form into another, each to be given the tensor first."""
    if source is target:
        return []
    if Form.GROUPED not in (source, target):
        lead = (-1,) if target is Form.FLAT else (num_tenants, -1)
        return [(Tensor.reshape, ((*lead, *feature),))]
    channels, rest = feature[0], feature[1:]
    if source is Form.GROUPED:
        split: list[Step] = [
            (Tensor.reshape, ((-1, num_tenants, channels, *rest),)),
            (Tensor.transpose, (0, 1)),
        ]
        return split + steps(Form.SPLIT, target, feature, num_tenants)
    return [
        *steps(source, Form.SPLIT, feature, num_tenants),
        (Tensor.transpose, (0, 1)),
        (Tensor.reshape, ((-1, num_tenants * channels, *rest),)),
    ]


def converted(tensor: Tensor, source: Form, target: Form, feature: tuple[int, ...], num_tenants: int) -> Tensor:
    """What ``steps`` gives, at once.

    >>> both = torch.arange(8).view(2, 1, 4)  # two tenants, one row each
    >>> converted(both, Form.SPLIT, Form.GROUPED, (4,), 2).shape
    torch.Size([1, 8])
    """
    for function, arguments in steps(source, target, feature, num_tenants):
        tensor = function(tensor, *arguments)
    return tensor


def _stack_flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack(tensors).flatten(0, 1)  # type: ignore[arg-type]  # any sequence will do


def _stack_grouped(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack(tensors, 1).flatten(1, 2)  # type: ignore[arg-type]


PACK: Final[dict[Form, Callable[..., Tensor]]] = {
    Form.FLAT: _stack_flat,
    Form.SPLIT: torch.stack,
    Form.GROUPED: _stack_grouped,
}
"""How the tensors of tenants become one. All stack first, which refuses tensors of different shapes."""


def unpack(tensor: Tensor, form: Form, num_tenants: int) -> Sequence[Tensor]:
    """Of each tenant its ``[n, *feature]``: views, nothing is copied."""
    if form is Form.SPLIT:
        return tensor.unbind(0)
    return tensor.chunk(num_tenants, 1 if form is Form.GROUPED else 0)


def padded(tensor: Tensor, num_rows: int) -> Tensor:
    """The tensor with rows of zeros at its end: they are cut off again, never multiplied away, so NaN stays where it is.

    >>> padded(torch.ones(1, 2), 2).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    missing = num_rows - tensor.shape[0]
    if missing <= 0:
        return tensor
    return functional.pad(tensor, (*(0, 0) * (tensor.dim() - 1), 0, missing))

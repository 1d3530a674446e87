"""How near two results are: within a tolerance, as ``close`` promises, or bit for bit, as ``exact`` does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

_RELATIVE: Final = 1e-4
_ABSOLUTE: Final = 1e-5


def bits(tensor: Tensor) -> Tensor:
    """The tensor's memory as whole numbers: NaN equals NaN, and 0 differs from -0."""
    if not tensor.is_floating_point():
        return tensor
    return tensor.view({1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()])


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether every bit is equal.

    >>> same_bits(torch.tensor([float("nan")]), torch.tensor([float("nan")]))
    True
    """
    return torch.equal(bits(one), bits(other))


def are_close(made: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Whether results agree as ``close`` promises: relative 1e-4, absolute 1e-5."""
    return all(
        one.shape == other.shape
        and one.dtype == other.dtype
        and torch.allclose(one, other, rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True)
        for one, other in zip(made, expected, strict=True)
    )

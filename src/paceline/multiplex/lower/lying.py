"""How values lie in the buffers of a chain.

Strides are torch's business: a value is a tensor without memory, as it lies in its buffer, so views are made by torch itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from torch import Tensor

from paceline.multiplex.native import library
from paceline.multiplex.op import Rows, Spec

NUM_ROWS: Final = 7
"""Of the tensors without memory; any number above one tells strides apart."""


_MOST_LEADING: Final = library.MOST_DIMENSIONS - 1


class Unfit(Exception):
    """The library has no kernel for this."""


@final
@dataclass(frozen=True, slots=True)
class Lying:
    """A value in its buffer: ``tensor`` has its shape and strides for ``NUM_ROWS`` rows of a request."""

    buffer: int
    tensor: Tensor


def viewed(buffer: int, tensor: Tensor, *, joins: bool = True) -> library.View:
    """As the library sees it; ``joins``: all dimensions before the last are so many vectors.

    >>> import torch
    >>> view = viewed(0, torch.empty((7 * 2, 3, 4), device="meta").transpose(1, 2))
    Traceback (most recent call last):
    paceline.multiplex.lower.lying.Unfit: numbers of a vector must lie side by side
    >>> view = viewed(0, torch.empty((7 * 2, 3, 4), device="meta"))
    >>> view.row_stride, list(view.size), list(view.stride)
    (24, [1, 6, 4], [0, 4, 1])
    """
    shape, strides = tensor.shape, tensor.stride()
    factor = shape[0] // NUM_ROWS
    dims = [(factor, strides[0]), *zip(shape[1:], strides[1:], strict=True)]
    width, step = dims.pop() if tensor.dim() > 1 else (1, 1)
    if step != 1 and width > 1:
        raise Unfit("numbers of a vector must lie side by side")
    lead = _joined(dims) if joins else dims[-2:] if dims[0][0] == 1 else dims
    if len(lead) > _MOST_LEADING:
        raise Unfit("it has too many dimensions")
    lead = [(1, 0)] * (_MOST_LEADING - len(lead)) + lead
    view = library.View(buffer=buffer, offset=int(tensor.storage_offset()), row_stride=factor * strides[0])
    view.size[:] = [*[size for size, _ in lead], width]
    view.stride[:] = [*[stride for _, stride in lead], 1]
    return view


def _joined(lead: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Dimensions (size and stride) with those made one that run on into each other."""
    made: list[tuple[int, int]] = []
    for size, stride in lead:
        if size == 1:
            continue
        if made and made[-1][1] == size * stride:
            made[-1] = (made[-1][0] * size, stride)
        else:
            made.append((size, stride))
    return made


def num_vectors(view: library.View) -> int:
    return int(view.size[0] * view.size[1])


def row(spec: Spec) -> tuple[int, ...]:
    """Rows for each row of a request, then the feature."""
    rows, *feature = spec.shape
    assert isinstance(rows, Rows)
    return (rows.factor, *[size for size in feature if isinstance(size, int)])

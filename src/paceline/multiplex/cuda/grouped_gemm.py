"""Many matrix products in one launch, each with weights of its own that are found by address: nothing is put side by side.

Tiles are fixed and K is never split, so the bits of one product depend neither on the others nor on its place.
"""

# Triton's language has its own types, which annotations cannot name.
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Final, Literal, TypeAlias, final

import torch
import triton
import triton.language as tl
from torch import Tensor

Precision: TypeAlias = Literal["ieee", "tf32"]
"""Of products of float32."""

DTYPES: Final = (torch.float32, torch.float16, torch.bfloat16)
_ROWS: Final = 16  # the fewest that a matrix unit takes: requests bring few
_COLUMNS: Final = 64
_DEPTH: Final = 32
_ENTRY: Final = tl.constexpr(7)  # numbers of a problem in the table
_ALIGNED: Final = 16  # bytes that one load instruction takes, and numbers that K must be a multiple of for it


@triton.jit(do_not_specialize=["scale"])  # else it would be compiled anew for some numbers of rows, while requests wait
def _grouped_kernel(
    values, results, table, scale,
    HAS_BIAS: tl.constexpr, ALIGNED: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """One tile of one problem: results [rows, N] = values [rows, K] @ weight [N, K] transposed, plus bias [N].

    ``table`` [problems, 7] int64: weight and bias (addresses), K, N, then rows and the starts of values and results, which
    ``scale`` multiplies. A tile beyond its problem has nothing to do.
    """
    row_tile, column_tile, problem = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    entry = table + problem * _ENTRY
    width = tl.load(entry + 2)
    num_outputs = tl.load(entry + 3)
    num_rows = tl.load(entry + 4) * scale
    if (row_tile * ROWS >= num_rows) | (column_tile * COLUMNS >= num_outputs):
        return
    number = tl.pointer_type(values.dtype.element_ty)
    weight = tl.load(entry).to(number)
    first = tl.load(entry + 5) * scale
    if ALIGNED:
        width = tl.multiple_of(width, 16)
        first = tl.multiple_of(first, 16)
        weight = tl.multiple_of(weight, 16)

    row = row_tile * ROWS + tl.arange(0, ROWS).to(tl.int64)
    column = column_tile * COLUMNS + tl.arange(0, COLUMNS).to(tl.int64)
    has_row, has_column = row < num_rows, column < num_outputs
    depth = tl.arange(0, DEPTH)
    left_at = values + first + row[:, None] * width + depth[None, :]
    right_at = weight + column[:, None] * width + depth[None, :]
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for begin in range(0, width, DEPTH):
        inside = begin + depth[None, :] < width
        left = tl.load(left_at + begin, mask=has_row[:, None] & inside, other=0.0)
        right = tl.load(right_at + begin, mask=has_column[:, None] & inside, other=0.0)
        total += tl.dot(left, tl.trans(right), input_precision=PRECISION)
    if HAS_BIAS:
        bias = tl.load(entry + 1).to(number)
        total += tl.load(bias + column, mask=has_column, other=0.0).to(tl.float32)[None, :]
    place = tl.load(entry + 6) * scale + row[:, None] * num_outputs + column[None, :]
    tl.store(results + place, total.to(results.dtype.element_ty), mask=has_row[:, None] & has_column[None, :])


@final
class GroupedGemm:
    """Products with ``weights[g]`` [N_g, K_g] and ``biases[g]`` [N_g], for ``rows[g]`` rows each (one, unless given).

    All tensors are of one type (float32, float16 or bfloat16) and on one device; NotImplementedError for other types,
    ValueError for shapes that do not fit. The weights are not copied and must stay where they are; they are kept alive.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor] | None = None,
        rows: Sequence[int] | None = None,
        *,
        precision: Precision = "ieee",
    ) -> None:
        rows = rows or [1] * len(weights)
        _check(weights, biases)
        self._weights = [weight.contiguous() for weight in weights]
        self._biases = None if biases is None else [bias.contiguous() for bias in biases]
        self._precision = precision
        self._most_rows = max(rows)
        self._most_outputs = max(weight.shape[0] for weight in weights)
        outputs, widths = zip(*[weight.shape for weight in weights], strict=True)
        starts = list(accumulate([n * k for n, k in zip(rows, widths, strict=True)], initial=0))
        ends = list(accumulate([n * k for n, k in zip(rows, outputs, strict=True)], initial=0))
        self._num_values, self._num_results = starts[-1], ends[-1]
        places = [weight.data_ptr() for weight in self._weights]
        shifts = [0] * len(weights) if self._biases is None else [bias.data_ptr() for bias in self._biases]
        columns = (places, shifts, widths, outputs, rows, starts[:-1], ends[:-1])
        self._is_aligned = not any(number % _ALIGNED for number in (*places, *widths))
        self._table = torch.tensor(columns, dtype=torch.int64).T.contiguous().to(weights[0].device)

    def flat(self, values: Tensor, scale: int = 1) -> Tensor:
        """All rows of all problems, one after another, ``scale`` times as many of each as were said.

        ``[sum of rows * K * scale] -> [sum of rows * N * scale]``; ValueError if there are not so many numbers, or of
        another type.
        """
        if values.numel() != self._num_values * scale or values.dtype != self._weights[0].dtype:
            wanted = f"{self._num_values * scale} numbers of {self._weights[0].dtype}"
            raise ValueError(f"values must be {wanted}, got {values.numel()} of {values.dtype}")
        values = values.contiguous()
        is_aligned = self._is_aligned and values.data_ptr() % _ALIGNED == 0
        results = values.new_empty(self._num_results * scale)
        tiles = (-(-self._most_rows * scale // _ROWS), -(-self._most_outputs // _COLUMNS), len(self._weights))
        with torch.cuda.device_of(values):
            _grouped_kernel[tiles](
                values, results, self._table, scale,
                HAS_BIAS=self._biases is not None, ALIGNED=is_aligned, PRECISION=self._precision,
                ROWS=_ROWS, COLUMNS=_COLUMNS, DEPTH=_DEPTH,
            )  # fmt: skip
        return results

    def __call__(self, values: Tensor) -> Tensor:
        """``[R, n, K] -> [R, n, N]``: problems of one shape and one row, n times."""
        num_problems, num_rows, _ = values.shape
        return self.flat(values, num_rows).view(num_problems, num_rows, self._most_outputs)


def _check(weights: Sequence[Tensor], biases: Sequence[Tensor] | None) -> None:
    dtype = weights[0].dtype
    if dtype not in DTYPES:
        raise NotImplementedError(f"the grouped product takes float32, float16 or bfloat16, got {dtype}")
    for place, weight in enumerate(weights):
        if weight.dim() != 2 or weight.dtype != dtype:
            raise ValueError(f"weight {place} must be [N, K] of {dtype}, got {list(weight.shape)} of {weight.dtype}")
    for place, bias in enumerate(biases or ()):
        if bias.shape != weights[place].shape[:1] or bias.dtype != dtype:
            raise ValueError(f"bias {place} must be {list(weights[place].shape[:1])} of {dtype}")

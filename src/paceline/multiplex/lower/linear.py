"""Products with weights: with one matrix per tenant they are batched matrix products over ``[R, n, K]``."""

from __future__ import annotations

import importlib.util
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from paceline.multiplex.lower.form import Form
from paceline.multiplex.lower.rule import Rule
from paceline.multiplex.lower.writer import Name, Writer
from paceline.multiplex.op import Graph, Op, Value, Weight

ROWS_FIRST = "rows-first"
"""``x @ W.T``: a matrix of rows times a matrix."""
COLUMNS = "columns"
"""``W @ x.T``: with one row a product of matrix and vector that reads the weights in their order."""
TRANSPOSED = "transposed"
"""``x @ W.T`` with a transposed copy of the weights."""
PADDED = "padded"
"""The same with K and N filled up to multiples of 16, so that every matrix starts where a vector register can load it."""
PACKED = "packed"
"""For shared weights: oneDNN with weights in its own layout, as a compiled and frozen model would have it."""
GROUPED = "grouped"
"""One kernel that finds the weights of each tenant by their address, so that they may lie anywhere."""
_GROUPED_DTYPES: Final = ("float32", "float16", "bfloat16")
_TILE = 16
_ONEDNN = torch.ops.mkldnn._linear_pointwise


def _variants(graph: Graph, op: Op) -> tuple[str, ...]:
    return (ROWS_FIRST, COLUMNS, TRANSPOSED)


def _on_cuda(graph: Graph, op: Op) -> tuple[str, ...]:
    weight = op.args[1]
    fits = isinstance(weight, Weight) and graph.weights[weight.name].dtype in _GROUPED_DTYPES
    return (GROUPED,) if fits and importlib.util.find_spec("triton") is not None else ()


def rows_of(w: Writer, index: int) -> Name:
    """The value as ``[R, rows, K]``, all its dimensions but the last taken for rows."""
    split = w.get(index, Form.SPLIT)
    feature = w.feature(index)
    if len(feature) == 1:
        return split
    return w.call(Tensor.reshape, split, (w.num_tenants, -1, feature[-1]), shares=split)


def give_rows(w: Writer, index: int, rows: Name) -> None:
    """The opposite: ``[R, rows, N]`` is the value of this number."""
    feature = w.feature(index)
    if len(feature) > 1:
        rows = w.call(Tensor.reshape, rows, (w.num_tenants, -1, *feature), shares=rows)
    w.give(index, Form.SPLIT, rows)


def product(w: Writer, rows: Name, weight: str, bias: str | None, variant: str) -> Name:
    """``[R, rows, K] -> [R, rows, N]`` by the tenants' ``[R, N, K]`` and ``[R, N]``."""
    names = (weight,) if bias is None else (weight, bias)
    if variant == PADDED:
        return _padded(w, rows, weight, bias)
    if variant == GROUPED:
        return _grouped(w, rows, weight, bias)
    if variant == COLUMNS:
        matrix = w.group.every(weight)
        columns = w.call(Tensor.transpose, rows, 1, 2, shares=rows)
        if bias is None:
            result = w.call(torch.bmm, matrix, columns)
        else:
            result = w.call(torch.baddbmm, w.group.every(bias).unsqueeze(2), matrix, columns)
        return w.call(Tensor.transpose, result, 1, 2, shares=result)
    if variant == TRANSPOSED:
        matrix = w.group.prepared(TRANSPOSED, names[:1], lambda each: each.transpose(1, 2).contiguous())
    else:
        matrix = w.group.every(weight).transpose(1, 2)
    if bias is None:
        return w.call(torch.bmm, rows, matrix)
    return w.call(torch.baddbmm, w.group.every(bias).unsqueeze(1), rows, matrix)


def _linear(w: Writer, op: Op, first: int, variant: str) -> bool:
    value, weight, bias, *_ = (*op.args, None)
    if not isinstance(value, Value) or not isinstance(weight, Weight) or isinstance(bias, Value):
        return False
    bias_name = bias.name if isinstance(bias, Weight) else None
    if weight.name in w.group.shared and bias_name is not None:  # the biases alone differ
        split = w.get(value.index, Form.SPLIT)
        shape = (w.num_tenants, *[1] * len(w.feature(value.index)), -1)
        made = w.call(functional.linear, split, w.group.shared[weight.name])
        w.give(first, Form.SPLIT, w.call(Tensor.add_, made, w.group.stacked[bias_name].view(shape), shares=made))
        return True
    give_rows(w, first, product(w, rows_of(w, value.index), weight.name, bias_name, variant))
    return True


def _matmul(w: Writer, op: Op, first: int, variant: str) -> bool:
    value, weight = op.args[:2]
    if not isinstance(value, Value) or not isinstance(weight, Weight) or len(w.graph.weights[weight.name].shape) != 2:
        return False
    if not w.feature(value.index):
        return False
    give_rows(w, first, w.call(torch.bmm, rows_of(w, value.index), w.group.every(weight.name)))
    return True


def _filled(size: int) -> int:
    return -size % _TILE


def _padded_weight(stacked: Tensor) -> Tensor:
    """``[R, N, K]`` to ``[R, K', N']``."""
    _, num_outputs, width = stacked.shape
    return functional.pad(stacked.transpose(1, 2), (0, _filled(num_outputs), 0, _filled(width))).contiguous()


def _padded_bias(stacked: Tensor) -> Tensor:
    return functional.pad(stacked, (0, _filled(stacked.shape[1]))).unsqueeze(1)


def _padded(w: Writer, rows: Name, weight: str, bias: str | None) -> Name:
    _, num_outputs, width = w.group.every(weight).shape
    matrix = w.group.prepared(PADDED, (weight,), _padded_weight)
    if _filled(width):
        rows = w.call(functional.pad, rows, (0, _filled(width)))
    if bias is None:
        made = w.call(torch.bmm, rows, matrix)
    else:
        made = w.call(torch.baddbmm, w.group.prepared(PADDED, (bias,), _padded_bias), rows, matrix)
    if not _filled(num_outputs):
        return made
    cut = w.call(torch.narrow, made, 2, 0, num_outputs, shares=made)
    return w.call(Tensor.contiguous, cut, shares=cut)


def _grouped(w: Writer, rows: Name, weight: str, bias: str | None) -> Name:
    from paceline.multiplex.cuda.grouped_gemm import GroupedGemm, Precision  # triton is not everywhere

    precision: Precision = "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"
    biases = None if bias is None else w.group.parts(bias)
    return w.call(GroupedGemm(w.group.parts(weight), biases, precision=precision), rows)


def _packed(w: Writer, op: Op, first: int, variant: str) -> bool:
    value, weight, bias, *_ = (*op.args, None)
    if variant != PACKED or not isinstance(value, Value) or not isinstance(weight, Weight):
        return False
    shift = w.group.shared[bias.name] if isinstance(bias, Weight) else None
    kernel = w.group.prepared_shared(PACKED, weight.name, torch.ops.mkldnn._reorder_linear_weight)
    made = w.call(_ONEDNN.default, w.get(value.index, Form.FLAT), kernel, shift, "none", (), "")
    w.give(first, Form.FLAT, made)
    return True


LINEAR = Rule(
    _linear,
    _variants,
    exact=lambda graph, op: (ROWS_FIRST, PADDED),
    shared=_packed,
    shared_variants=(PACKED,) if torch.backends.mkldnn.is_available() else (),  # type: ignore[no-untyped-call]
    may_chain=True,
    on_cuda=_on_cuda,
    copying=frozenset({TRANSPOSED, PACKED}),
)
MATMUL = Rule(_matmul)

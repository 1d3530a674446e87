"""The operators that a graph may hold, by what they do. Pure.

A name is written ``aten.<operator>.<overload>``. Captured models are brought to these few forms, and model folders that
name anything else are refused: none of them touches files, devices, memory of others, or random numbers, and each treats
every row (dimension 0 of a value) by itself, as long as ``dim`` arguments are not 0.
"""

from __future__ import annotations

from typing import Final


def _aten(names: str, overload: str = "default") -> frozenset[str]:
    return frozenset(f"aten.{name}.{overload}" for name in names.split())


UNARY: Final = _aten(
    "abs ceil celu clamp cos elu erf exp expm1 floor gelu hardsigmoid hardswish hardtanh isfinite isinf isnan leaky_relu"
    " log log1p log2 log_sigmoid logical_not mish nan_to_num neg reciprocal relu relu6 round rsqrt selu sigmoid sign"
    " silu sin softplus sqrt square tan tanh trunc bitwise_not clamp_min clamp_max"
) | {"aten.pow.Tensor_Scalar", "aten.pow.Scalar", "aten.rsub.Scalar", "aten.to.dtype", "aten.div.Tensor_mode"}
"""One tensor to one of the same shape, number by number (``div.Tensor_mode`` may have two)."""

_COMPARISONS = "eq ne lt le gt ge"
BINARY: Final = (
    _aten("add sub mul div remainder fmod bitwise_and bitwise_or " + _COMPARISONS, "Tensor")
    | _aten("remainder fmod " + _COMPARISONS, "Scalar")
    | _aten("maximum minimum logical_and logical_or logical_xor atan2 prelu addcmul addcdiv")
    | {"aten.pow.Tensor_Tensor", "aten.where.self", "aten.masked_fill.Tensor", "aten.masked_fill.Scalar"}
    | {"aten.lerp.Tensor", "aten.lerp.Scalar", "aten.clamp.Tensor", "aten.rsub.Tensor"}
)
"""Several tensors, broadcast to one shape. A number may stand where the schema has a tensor."""

POINTWISE: Final = UNARY | BINARY

REDUCTIONS: Final = (
    _aten("amax amin argmax argmin logsumexp linalg_vector_norm")
    | _aten("mean max min any all", "dim")
    | _aten("var std", "correction")
    | {"aten.sum.dim_IntList", "aten.prod.dim_int"}
)
"""Along ``dim``, which goes away unless ``keepdim``."""

ALONG: Final = _aten("cumsum topk sort index_select gather flip roll glu cat stack split_with_sizes") | {
    "aten.softmax.int",
    "aten.log_softmax.int",
    "aten.select.int",
    "aten.slice.Tensor",
    "aten.select_scatter.default",
    "aten.slice_scatter.default",
}
"""Something along ``dim`` (``dims`` of ``flip`` and ``roll``)."""

SHAPE: Final = _aten("reshape permute expand repeat constant_pad_nd pad pixel_shuffle pixel_unshuffle") | {
    "aten.transpose.int"
}
"""Other places for the same numbers. Sizes of ``reshape`` and ``expand`` may be ``Rows``."""

MATRIX: Final = _aten("linear matmul bmm")
CONVOLUTION: Final = _aten("conv1d conv2d conv3d conv_transpose1d") | _aten("conv_transpose2d", "input")
POOL: Final = _aten(
    "max_pool1d max_pool2d avg_pool1d avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d"
    " adaptive_max_pool2d"
)
RESIZE: Final = _aten("upsample_nearest1d upsample_nearest2d upsample_linear1d upsample_bilinear2d", "vec")
NORM: Final = _aten("layer_norm group_norm rms_norm instance_norm")
ATTENTION: Final = _aten("scaled_dot_product_attention")
RECURRENT: Final = _aten("lstm gru rnn_tanh rnn_relu", "input")
"""One layer, ``batch_first``; initial states are None, which means zeros. The states after the last step are left out:
their numbers are read from the output."""
EMBEDDING: Final = _aten("embedding")

OPERATORS: Final = (
    POINTWISE
    | REDUCTIONS
    | ALONG
    | SHAPE
    | MATRIX
    | CONVOLUTION
    | POOL
    | RESIZE
    | NORM
    | ATTENTION
    | RECURRENT
    | EMBEDDING
)

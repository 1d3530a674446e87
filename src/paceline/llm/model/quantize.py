"""Weights as whole numbers of 8 or 4 bits with one bfloat16 scale per group along the input dimension.

A weight is ``level * scale``. Eight bits: groups of 64, levels -127..127, the largest magnitude of a group sets the
scale. Four bits: groups of 32, levels -8..7; the value of largest magnitude would become -8 at ratio 1, and among a
few ratios and one least-squares step the scale with the smallest squared error is kept.

This is the format's definition: the native kernels quantise in the same order of float32 operations, so both give
the same levels and scales.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Bits = Literal[4, 8]
Float32 = NDArray[np.float32]

GROUP_SIZES: dict[Bits, int] = {8: 64, 4: 32}
_CLIPS = (1.0, 1.15, 1.1, 1.05, 0.95, 0.9, 0.85, 0.8)
_SMALLEST_SCALE = np.float32(1e-30)  # the inverse of less could overflow; such a group is all zeros


class Quantized(NamedTuple):
    """A weight matrix of N outputs and K inputs in G = ceil(K / group) groups; levels beyond K are zero."""

    levels: NDArray[np.int8]  # [N, G, group]
    scales: Float32  # [N, G], each exactly a bfloat16


def quantize(weights: Float32, bits: Bits) -> Quantized:
    """Levels and scales of ``weights`` [N, K].

    >>> levels, scales = quantize(np.array([[0.5, -1.0, 0.25]], np.float32), 4)
    >>> levels[0, 0, :3].tolist(), scales.tolist()
    ([4, -8, 2], [[0.125]])
    """
    size = GROUP_SIZES[bits]
    num_rows, depth = weights.shape
    groups = np.zeros((num_rows, -(-depth // size) * size), np.float32)
    groups[:, :depth] = weights
    groups = groups.reshape(num_rows, -1, size)
    scales = _scales8(groups) if bits == 8 else _scales4(groups)
    limits = (-127, 127) if bits == 8 else (-8, 7)
    levels = _levels(groups, scales, *limits).astype(np.int8)
    return Quantized(levels, np.where(np.isnan(groups).any(-1), np.float32(np.nan), scales))


def dequantize(quantized: Quantized, depth: int) -> Float32:
    """The weights [N, depth] that the levels and scales stand for.

    >>> dequantize(quantize(np.array([[0.5, -1.0, 0.25]], np.float32), 4), 3).tolist()
    [[0.5, -1.0, 0.25]]
    """
    wide = quantized.levels * quantized.scales[..., None]
    return np.ascontiguousarray(wide.reshape(len(wide), -1)[:, :depth])


def _levels(groups: Float32, scales: Float32, low: int, high: int) -> Float32:
    """Nearest levels as float32 [N, G, group]; halves go to the even neighbour."""
    usable = np.abs(scales) > _SMALLEST_SCALE
    inverse = np.divide(np.float32(1), scales, out=np.zeros_like(scales), where=usable)
    levels: Float32 = np.clip(np.rint(np.nan_to_num(groups * inverse[..., None])), low, high)
    return levels


def _scales8(groups: Float32) -> Float32:
    """Rounded up, so that the largest value is not clipped."""
    bits = (np.nan_to_num(np.abs(groups)).max(-1) / np.float32(127)).view(np.uint32)
    scales: Float32 = (bits + np.uint32(0xFFFF) & np.uint32(0xFFFF0000)).view(np.float32)
    return scales


def _scales4(groups: Float32) -> Float32:
    groups = np.nan_to_num(groups)
    low, high = np.minimum(groups.min(-1), 0), np.maximum(groups.max(-1), 0)
    base = np.where(high >= -low, high, low) * np.float32(-0.125)
    best, least = _round_bfloat16(base), np.full_like(base, np.inf)
    with np.errstate(over="ignore", invalid="ignore"):  # errors of values near the end of float32 keep the first scale
        for clip in _CLIPS:
            best, least = _keep_better(groups, _round_bfloat16(base * np.float32(clip)), best, least)
        levels = _levels(groups, best, -8, 7)
        products, squares = _sum(groups * levels), _sum(levels * levels)
        fitted = np.divide(products, squares, out=best.copy(), where=squares > 0)
        return _keep_better(groups, _round_bfloat16(fitted), best, least)[0]


def _keep_better(groups: Float32, scales: Float32, best: Float32, least: Float32) -> tuple[Float32, Float32]:
    difference = groups - _levels(groups, scales, -8, 7) * scales[..., None]
    error = _sum(difference * difference)
    better = error < least
    return np.where(better, scales, best), np.where(better, error, least)


def _sum(terms: Float32) -> Float32:
    """Over the last axis, one term after the other: the kernels' order."""
    total = np.zeros(terms.shape[:-1], np.float32)
    for index in range(terms.shape[-1]):
        total += terms[..., index]
    return total


def _round_bfloat16(values: Float32) -> Float32:
    """To nearest, halves to even; subnormal results become zero as in the processor's conversion."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> 16 & 1) & np.uint32(0xFFFF0000)).view(np.float32)
    return np.where(np.abs(values) < np.finfo(np.float32).tiny, np.float32(0), rounded)

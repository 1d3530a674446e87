"""The format of quantised weights: what it keeps, its edge cases, and that the native kernels agree with it."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from paceline.llm import native
from paceline.llm.model.quantize import GROUP_SIZES, Bits, Quantized, dequantize, quantize
from paceline.llm.native import library

NO_KERNELS = pytest.mark.skipif(native.obstacle() is not None, reason=f"{native.obstacle()}")


def relative_error(weights: NDArray[np.float32], bits: Bits) -> float:
    difference = dequantize(quantize(weights, bits), weights.shape[1]) - weights
    return float(np.sqrt((difference**2).sum() / (weights**2).sum()))


def native_quantize(weights: NDArray[np.float32], bits: Bits) -> Quantized:
    """Levels and scales of [64, group] by the kernels."""
    levels, scales = np.empty(weights.shape, np.int8), np.empty(64, np.float32)
    load = library.load()
    pointer = ctypes.c_void_p
    load.paceline_quantize(
        weights.ctypes.data_as(pointer), bits, levels.ctypes.data_as(pointer), scales.ctypes.data_as(pointer)
    )
    return Quantized(levels[:, None], scales[:, None])


@pytest.mark.parametrize(("bits", "bound"), [(8, 0.007), (4, 0.082)])
def test_normal_weights_keep_their_precision(bits: Bits, bound: float) -> None:
    weights = np.random.default_rng(0).standard_normal((64, 256)).astype(np.float32)
    assert relative_error(weights, bits) < bound


@pytest.mark.parametrize("bits", [8, 4])
def test_a_depth_beyond_the_last_group_is_padded(bits: Bits) -> None:
    weights = np.random.default_rng(1).standard_normal((3, 70)).astype(np.float32)
    quantized = quantize(weights, bits)
    assert quantized.levels.shape == (3, -(-70 // GROUP_SIZES[bits]), GROUP_SIZES[bits])
    assert not quantized.levels.reshape(3, -1)[:, 70:].any()
    assert dequantize(quantized, 70).shape == (3, 70)


@pytest.mark.parametrize("bits", [8, 4])
def test_zeros_stay_zero_and_scales_are_bfloat16(bits: Bits) -> None:
    weights = np.random.default_rng(2).standard_normal((4, 128)).astype(np.float32)
    weights[1] = 0
    quantized = quantize(weights, bits)
    assert not dequantize(quantized, 128)[1].any()
    assert not (quantized.scales.view(np.uint32) & 0xFFFF).any()


def test_eight_bits_never_clip_the_largest() -> None:
    weights = np.random.default_rng(3).standard_normal((256, 64)).astype(np.float32)
    quantized = quantize(weights, 8)
    assert (np.abs(dequantize(quantized, 64) - weights) <= 0.5001 * quantized.scales).all()


@pytest.mark.parametrize("bits", [8, 4])
def test_a_nan_spoils_its_group_only(bits: Bits) -> None:
    weights = np.ones((2, 128), np.float32)
    weights[1, 70] = np.nan
    wide = dequantize(quantize(weights, bits), 128)
    size = GROUP_SIZES[bits]
    assert np.isnan(wide[1, 70 // size * size : 70 // size * size + size]).all()
    assert np.isnan(wide).sum() == size


@NO_KERNELS
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("spread", ["normal", "heavy", "even", "constant", "halves", "tiny", "huge"])
def test_kernels_quantise_the_same(bits: Bits, spread: str) -> None:
    rng = np.random.default_rng(4)
    shape = (64, GROUP_SIZES[bits])
    drawn = {
        "normal": rng.standard_normal(shape),
        "heavy": rng.standard_t(2, shape),
        "even": rng.uniform(-1, 1, shape),
        "constant": np.repeat(rng.standard_normal((64, 1)), shape[1], 1),
        "halves": rng.integers(-17, 18, shape) / 2,
        "tiny": rng.standard_normal(shape) * 1e-37,
        "huge": rng.standard_normal(shape) * 1e17,
    }
    weights = drawn[spread].astype(np.float32)
    expected, given = quantize(weights, bits), native_quantize(weights, bits)
    assert (expected.scales == given.scales).all()
    assert (expected.levels == given.levels).all()


@NO_KERNELS
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 8]), st.floats(-20, 20))
def test_kernels_quantise_any_scale_the_same(seed: int, bits: Bits, exponent: float) -> None:
    rng = np.random.default_rng(seed)
    weights = (rng.standard_normal((64, GROUP_SIZES[bits])) * 10**exponent).astype(np.float32)
    weights[rng.random(weights.shape) < 0.2] = 0
    expected, given = quantize(weights, bits), native_quantize(weights, bits)
    assert (expected.scales == given.scales).all()
    assert (expected.levels == given.levels).all()

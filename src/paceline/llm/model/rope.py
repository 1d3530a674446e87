"""Rotary positions: tables of cosines and sines, by numpy, for every kind of scaling.

Sources: RoFormer (Su et al. 2021); linear interpolation (Chen et al. 2023); NTK-aware scaling as "dynamic";
YaRN (Peng et al. 2023); the piecewise rule of Llama 3.1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from paceline.llm.model.config import ModelConfig, RopeScaling

Float32 = NDArray[np.float32]


def rope_tables(config: ModelConfig, length: int) -> tuple[Float32, Float32]:
    """Cosines and sines of positions ``0 .. length - 1``, each [length, head_dim / 2].

    Dimension ``i`` of the first half of a head pairs with dimension ``i`` of the second half. The attention
    factor of YaRN is multiplied in. "dynamic" scaling depends on the length: up to the trained length it changes
    nothing, beyond it one base is chosen for the whole table.
    """
    frequencies = inverse_frequencies(config, length)
    angles = np.outer(np.arange(length, dtype=np.float32), frequencies)  # [length, D / 2]
    factor = np.float32(attention_factor(config.rope_scaling))
    return np.cos(angles) * factor, np.sin(angles) * factor


def attention_factor(scaling: RopeScaling | None) -> float:
    """What YaRN multiplies rotated queries and keys with; 1 for the other kinds."""
    if scaling is None or scaling.kind != "yarn":
        return 1.0
    return 0.1 * math.log(scaling.factor) + 1.0 if scaling.attention_factor is None else scaling.attention_factor


def inverse_frequencies(config: ModelConfig, length: int) -> Float32:
    """Radians per position of each pair of dimensions, float32 [head_dim / 2]."""
    scaling, base = config.rope_scaling, config.rope_theta
    if scaling is None:
        return _plain(base, config.head_dim)
    if scaling.kind == "linear":
        return _plain(base, config.head_dim) / np.float32(scaling.factor)
    if scaling.kind == "dynamic":
        longest = max(length, scaling.original_max_position)
        stretch = scaling.factor * longest / scaling.original_max_position - (scaling.factor - 1)
        return _plain(base * stretch ** (config.head_dim / max(config.head_dim - 2, 1)), config.head_dim)
    if scaling.kind == "llama3":
        return _llama3(_plain(base, config.head_dim), scaling)
    return _yarn(base, config.head_dim, scaling)


def _powers(base: float, head_dim: int) -> Float32:
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    powers: Float32 = np.power(np.float32(base), exponents)
    return powers


def _plain(base: float, head_dim: int) -> Float32:
    return np.float32(1.0) / _powers(base, head_dim)


def _llama3(plain: Float32, scaling: RopeScaling) -> Float32:
    """Long waves are stretched by the factor, short ones kept, those between blended."""
    turns = np.float32(scaling.original_max_position) * plain / np.float32(2 * math.pi)  # over the trained length
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    kept = np.clip((turns - np.float32(low)) / np.float32(high - low), 0, 1)
    blended: Float32 = (1 - kept) * plain / np.float32(scaling.factor) + kept * plain
    return blended


def _yarn(base: float, head_dim: int, scaling: RopeScaling) -> Float32:
    """Dimensions that turn often are kept, those that turn less than once are interpolated, a ramp lies between."""

    def dimension(rotations: float) -> float:
        return head_dim * math.log(scaling.original_max_position / (rotations * 2 * math.pi)) / (2 * math.log(base))

    low, high = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    high += 0.001 if low == high else 0.0  # a ramp of no width would divide by zero
    ramp = np.clip((np.arange(head_dim // 2, dtype=np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)
    powers = _powers(base, head_dim)
    blended: Float32 = ramp / (np.float32(scaling.factor) * powers) + (1 - ramp) / powers
    return blended

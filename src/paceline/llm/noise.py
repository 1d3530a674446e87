"""Counter-based coupled noise: ``gumbel(seed, position, token)`` is a pure function.

A drafter that proposes with the noise the verifier will use makes both agree often, and a token
that depends on its request alone never depends on batch, schedule or draft length (Daliri et al.
2024, "Coupling without communication and drafter-invariant speculative decoding").

The arithmetic, all modulo 2**64, is that of SplitMix64 (Steele et al. 2014) with Stafford's
thirteenth mixer, two multiply-xorshift rounds; ``G`` is ``GOLDEN``::

    mix(x):  x ^= x >> 30; x *= 0xBF58476D1CE4E5B9
             x ^= x >> 27; x *= 0x94D049BB133111EB
             x ^= x >> 31
    key   = mix(mix(seed + G) ^ mix(position + 2 G))
    bits  = mix(key + (token + 1) G) >> 32                       32 bits
    noise = -log(-log((bits + 0.5) / 2**32))                     float64, in [-3.14, 22.88]

Shifts are logical. In signed 64-bit integers (torch) sums and products wrap to the same bits;
only the shift differs, so write ``(x >> n) & ((1 << (64 - n)) - 1)`` there.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

GOLDEN = 0x9E3779B97F4A7C15
MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
SHIFTS = (30, 27, 31)
NUM_BITS = 32

_MASK = (1 << 64) - 1
_SCALE = 2.0**-NUM_BITS
_PIECE = 8192  # tokens


def sample_seed(seed: int, index: int) -> int:
    """Seed of sample ``index`` of a request that asks for several, as a signed 64-bit integer.

    >>> sample_seed(7, 0) == sample_seed(7, 0), sample_seed(7, 0) == sample_seed(7, 1)
    (True, False)
    """
    hashed = _mix(_mix(seed + GOLDEN) ^ _mix(index + 3 * GOLDEN))
    return hashed - (1 << 64) if hashed >> 63 else hashed


def noise_key(seed: int, position: int) -> int:
    """The 64-bit key of one output position of one request, shared by all its tokens."""
    return _mix(_mix(seed + GOLDEN) ^ _mix(position + 2 * GOLDEN))


def noise_bits(key: int, token_ids: NDArray[np.integer]) -> NDArray[np.uint64]:  # [N] -> [N]
    """32 random bits per token, in the low half of each element."""
    x = token_ids.astype(np.uint64)
    x *= np.uint64(GOLDEN)
    x += np.uint64((key + GOLDEN) & _MASK)
    shifted = np.empty_like(x)
    for shift, multiplier in zip(SHIFTS, MULTIPLIERS, strict=False):
        np.right_shift(x, np.uint64(shift), out=shifted)
        x ^= shifted
        x *= np.uint64(multiplier)
    np.right_shift(x, np.uint64(SHIFTS[-1]), out=shifted)
    x ^= shifted
    x >>= np.uint64(64 - NUM_BITS)
    return x


def gumbel_of(bits: NDArray[np.uint64]) -> NDArray[np.float64]:  # [N] -> [N]
    """Standard Gumbel variates, increasing in ``bits``."""
    uniform = (bits.astype(np.float64) + 0.5) * _SCALE
    return -np.log(-np.log(uniform))


def gumbel(seed: int, position: int, token_ids: NDArray[np.integer]) -> NDArray[np.float64]:  # [N] -> [N]
    """The noise of ``token_ids`` at output position ``position`` of a request with ``seed``.

    >>> gumbel(0, 0, np.array([0, 1, 2])).round(6).tolist()
    [1.63864, 0.009877, 2.682884]
    """
    return gumbel_of(noise_bits(noise_key(seed, position), token_ids))


def coupled_argmax(scores: NDArray[np.float64], token_ids: NDArray[np.integer] | None, key: int) -> int:  # [N], [N]
    """Index of the largest ``score + noise``; the lowest index on a tie. Without ids they are 0..N-1.

    At least one score is finite, none is NaN or +inf. Only tokens within the noise's range of the
    leader are hashed, in pieces that stay in the processor's cache.

    >>> coupled_argmax(np.array([0.0, 50.0, 1.0]), np.array([5, 6, 7]), noise_key(1, 2))
    1
    """
    leader = int(scores.argmax())
    leading_id = leader if token_ids is None else int(token_ids[leader])
    bar = float(scores[leader]) + _gumbel_of_one(key, leading_id) - MAX_GUMBEL
    near = np.flatnonzero(scores >= bar)
    picked = 3 * len(near) < len(scores)  # else picking them out would cost more than it saves
    if picked:
        scores, token_ids = scores[near], near if token_ids is None else token_ids[near]
    token_ids = np.arange(len(scores)) if token_ids is None else token_ids
    best, winner = -math.inf, 0
    for start in range(0, len(scores), _PIECE):
        piece = slice(start, start + _PIECE)
        noisy = scores[piece] + gumbel_of(noise_bits(key, token_ids[piece]))
        index = int(noisy.argmax())
        if noisy[index] > best:
            best, winner = float(noisy[index]), start + index
    return int(near[winner]) if picked else winner


def _gumbel_of_one(key: int, token_id: int) -> float:
    """``gumbel_of(noise_bits(key, …))`` of one token up to the last bits, without numpy's overhead."""
    bits = _mix(key + (token_id + 1) * GOLDEN) >> (64 - NUM_BITS)
    return -math.log(-math.log((bits + 0.5) * _SCALE))


def _mix(x: int) -> int:
    x &= _MASK
    for shift, multiplier in zip(SHIFTS, MULTIPLIERS, strict=False):
        x = ((x ^ (x >> shift)) * multiplier) & _MASK
    return x ^ (x >> SHIFTS[-1])


MAX_GUMBEL = -math.log(-math.log1p(-0.5 * _SCALE)) + 1e-6  # no draw exceeds it

"""Log-probabilities of tokens under the model's own logits, before any processing."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from paceline.llm.request import TokenLogprob

MIN_LOGPROB = -9999.0  # stands for minus infinity, which JSON cannot hold; the OpenAI API's value

_NUM_GROUPS_PER_RANK = 2
_GROUP = 64


def token_logprob(logits: NDArray[np.float32], token_id: int, num_top: int) -> TokenLogprob:  # [V]
    """Log-probability of ``token_id`` and the ``num_top`` best tokens, best first, lower ids first on ties.

    The logits hold no NaN and no +inf, and at least one is finite.

    >>> token_logprob(np.log(np.array([0.5, 0.25, 0.25], dtype=np.float32)), 2, 1).top[0][0]
    0
    """
    shifted = logits.astype(np.float64)
    peak = float(shifted.max())
    shifted -= peak
    norm = peak + math.log(float(np.exp(shifted, out=shifted).sum()))
    top: tuple[tuple[int, float], ...] = ()
    if num_top:
        best = np.flatnonzero(logits >= kth_largest(logits, num_top))
        best = best[np.argsort(-logits[best], kind="stable")][:num_top]
        top = tuple((int(index), _finite(float(logits[index]) - norm)) for index in best)
    return TokenLogprob(token_id, _finite(float(logits[token_id]) - norm), top)


def kth_largest(values: NDArray[np.float32], k: int) -> float:  # [N]
    """The ``k``-th largest value, k >= 1; minus infinity when there are fewer than ``k`` values.

    >>> kth_largest(np.array([3.0, 1.0, 2.0], dtype=np.float32), 2)
    2.0
    """
    if k > len(values):
        return -math.inf
    num_groups = len(values) // _GROUP
    if num_groups >= _NUM_GROUPS_PER_RANK * k:
        # The k-th best group maximum is not above the k-th best value, so only values from there on matter.
        best_of_group = values[: num_groups * _GROUP].reshape(_GROUP, num_groups).max(axis=0)
        values = values[values >= np.partition(best_of_group, -k)[-k]]
    return float(np.partition(values, -k)[-k])


def _finite(logprob: float) -> float:
    return max(logprob, MIN_LOGPROB)

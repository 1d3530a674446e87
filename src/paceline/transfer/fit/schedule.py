"""The learning rate over the steps of a training."""

from __future__ import annotations

import math


def rate_factor(step: int, num_steps: int, warmup_share: float) -> float:
    """By what the learning rate is multiplied in ``step``, counted from 0: a linear rise, then a half cosine down to 0.

    >>> [round(rate_factor(step, 8, 0.25), 2) for step in range(8)]
    [0.5, 1.0, 1.0, 0.93, 0.75, 0.5, 0.25, 0.07]
    """
    num_warm = round(num_steps * warmup_share)
    if step < num_warm:
        return (step + 1) / num_warm
    return 0.5 * (1 + math.cos(math.pi * (step - num_warm) / max(1, num_steps - num_warm)))

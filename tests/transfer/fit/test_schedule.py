from __future__ import annotations

import itertools

import pytest

from paceline.transfer.fit.schedule import rate_factor


@pytest.mark.parametrize("num_steps", [1, 2, 7, 100])
@pytest.mark.parametrize("warmup_share", [0.0, 0.1, 0.9])
def test_it_rises_then_falls_and_never_reaches_zero(num_steps: int, warmup_share: float) -> None:
    factors = [rate_factor(step, num_steps, warmup_share) for step in range(num_steps)]
    assert all(0 < factor <= 1 for factor in factors)
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert all(left >= right for left, right in itertools.pairwise(factors[top:]))


def test_the_top_is_the_whole_rate() -> None:
    assert max(rate_factor(step, 50, 0.1) for step in range(50)) == 1.0

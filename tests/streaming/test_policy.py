"""The policy that never changes its mind."""

from __future__ import annotations

import numpy as np

from paceline.streaming.policy import Fixed, Policy


def test_fixed_is_fixed_whatever_it_is_told() -> None:
    policy: Policy = Fixed("d4")
    policy.observe("d4", 0.0, 0)
    assert {policy.choose(features, "d1", 0) for features in (None, np.zeros(3), np.full(3, np.nan))} == {"d4"}

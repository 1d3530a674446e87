"""What calls cost."""

from __future__ import annotations

import pytest

from paceline.llm.policies.calling import CallCost


def test_learns_fixed_cost_depth_members_and_their_product() -> None:
    cost = CallCost()
    for turn in range(400):
        members, depth = 1 + turn * 7 % 16, 1 + turn * 5 % 8
        cost.observe(members, depth, 0.001 + 1e-4 * depth + 2e-5 * members + 3e-5 * members * depth)
    assert cost.seconds(16, 8) == pytest.approx(0.001 + 8e-4 + 32e-5 + 384e-5, rel=0.05)
    assert cost.seconds(1, 1) == pytest.approx(0.00115, rel=0.1)


def test_the_first_call_is_left_out() -> None:
    cost = CallCost()
    cost.observe(4, 2, 10.0)
    assert not cost.known
    cost.observe(4, 2, 0.001)
    assert cost.known
    assert cost.seconds(4, 2) == pytest.approx(0.001, rel=0.01)

"""A length by the average of what was accepted."""

from __future__ import annotations

import pytest

from paceline.llm.policies import make_policy
from tests.llm.policies.world import Plane, Toy, World


def world_of(acceptance: float, batch: int = 1) -> World:
    return World(
        lambda setup: make_policy("ema", setup), {"heads": Toy(lambda r, p: acceptance)}, Plane(0.01), batch=batch
    )


@pytest.mark.parametrize(("acceptance", "length"), [(1.0, 7), (0.0, 1), (0.6, 3)])
def test_settles_at_about_one_more_than_accepted(acceptance: float, length: int) -> None:
    world = world_of(acceptance)
    world.run(100)
    assert sum(world.nodes[-20:]) / 20 == pytest.approx(length, abs=1.1)


def test_the_tier_of_the_batch_bounds_it() -> None:
    world = world_of(1.0)
    world.run(60)
    world.resize(8)
    world.step()
    assert world.nodes[-1] == 8 * 3
    world.resize(64)
    world.step()
    assert world.nodes[-1] == 0


def test_plain_where_nothing_is_accepted_but_for_a_trial_now_and_then() -> None:
    world = world_of(0.0, batch=8)
    world.run(300)
    assert 0 < sum(nodes > 0 for nodes in world.nodes[50:]) < 40

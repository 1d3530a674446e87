"""The paper's policy: one acceptance, one length."""

from __future__ import annotations

import pytest

from paceline.llm.policies import make_policy
from paceline.llm.policies.smartspec import SmartSpec
from paceline.llm.speculation import PolicySetup
from paceline.llm.step_cost import StepCost
from tests.llm.policies.world import Plane, Toy, World, best_uniform

GPU = Plane(0.010, 0.0001)


def world_of(acceptance: float, batch: int, plane: Plane = GPU) -> World:
    toy = Toy(lambda r, p: acceptance, shared_s=0.05 * plane.fixed_s, per_depth_s=0.02 * plane.fixed_s)
    return World(lambda setup: make_policy("smartspec", setup), {"model": toy}, plane, batch=batch)


@pytest.mark.parametrize(("acceptance", "batch"), [(0.9, 1), (0.7, 8), (0.8, 32)])
def test_finds_the_best_length_for_all(acceptance: float, batch: int) -> None:
    world = world_of(acceptance, batch)
    world.run(120)
    found = world.run(max(100, 800 // batch))
    assert found > 0.94 * best_uniform(acceptance, world.toys["model"], GPU, batch)


def test_wants_ten_per_cent_to_leave_plain_decoding() -> None:
    world = world_of(0.1, 8)
    world.run(200)
    assert sum(world.nodes[-50:]) == 0


def test_the_length_stands_for_20_steps_whatever_the_load() -> None:
    world = world_of(0.9, 1)
    world.run(21)
    before = world.nodes[-1]
    world.resize(2)
    world.step()
    assert world.nodes[-1] == 2 * before


def test_starts_at_an_acceptance_of_seven_tenths_and_remembers_100_steps() -> None:
    rule = SmartSpec(StepCost(GPU), 8)
    assert rule.acceptance == 0.7
    assert make_policy("smartspec", PolicySetup((), StepCost(GPU), 8)).order(world_of(0.5, 1).view()) == []

"""Looks on hope stay within their budget."""

from __future__ import annotations

from paceline.llm.policies.goodput import make
from tests.llm.policies.world import Plane, Toy, World

PLANE = Plane(0.010, 0.0005)


def seconds_by_name(world: World, num_steps: int) -> dict[str, float]:
    del world.asks[:]
    world.run(num_steps)
    spent = dict.fromkeys(world.toys, 0.0)
    for asks in world.asks:
        for ask in asks:
            spent[ask.proposer] += world.toys[ask.proposer].seconds(len(ask.members), ask.depth)
    return spent


def test_looks_and_probes_take_a_hundredth_of_the_time_at_most() -> None:
    toys = {
        "lookup": Toy(lambda r, p: 0.02, lambda depth: 0.5**depth, per_member_s=0.0005, seed=1),
        "model": Toy(lambda r, p: 0.02, shared_s=0.004, catches_up=True, seed=2),
    }
    world = World(make, toys, PLANE, batch=8)
    world.run(100)
    began_s = world.now_s
    spent = seconds_by_name(world, 3000)
    for seconds in spent.values():
        assert 0.0 < seconds < 0.012 * (world.now_s - began_s)


def test_all_requests_get_their_turn() -> None:
    world = World(make, {"lookup": Toy(lambda r, p: 0.0, silent=lambda r, p: True, per_member_s=1e-5)}, PLANE, batch=20)
    world.run(600)
    assert {member for asks in world.asks for ask in asks for member in ask.members} == set(range(20))


def test_probes_come_more_and_more_seldom_and_anew_with_another_load() -> None:
    toys = {"model": Toy(lambda r, p: 0.2, shared_s=0.002, catches_up=True)}
    world = World(make, toys, PLANE, batch=8)
    world.run(1000)
    early = world.policy.explain().numbers["probes"]
    world.run(1000)
    late = world.policy.explain().numbers["probes"] - early
    assert late < early
    world.resize(3)
    world.run(200)
    assert world.policy.explain().numbers["probes"] - early - late > 0


def test_what_could_not_win_even_at_its_best_is_not_probed() -> None:
    world = World(make, {"model": Toy(lambda r, p: 0.5, shared_s=1.0, catches_up=True)}, PLANE, batch=8)
    world.run(1500)
    assert world.policy.explain().numbers["probes"] <= 4

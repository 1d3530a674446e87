"""A length by batch size."""

from __future__ import annotations

from paceline.llm.policies import make_policy
from tests.llm.policies.world import Plane, Toy, World


def test_the_length_follows_the_batch() -> None:
    world = World(lambda setup: make_policy("table", setup), {"lookup": Toy(lambda r, p: 0.5)}, Plane(0.01))
    for batch, nodes in ((1, 5), (4, 20), (16, 48), (32, 32), (33, 0), (2, 10)):
        world.resize(batch)
        world.step()
        assert world.nodes[-1] == nodes

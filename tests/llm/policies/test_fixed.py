"""One draft length for all."""

from __future__ import annotations

import pytest

from paceline.llm.draft.tree import DraftTree
from paceline.llm.policies import make_policy
from paceline.llm.policies.fixed import FixedLength, likeliest_chain
from paceline.llm.speculation import PolicySetup, Proposal
from paceline.llm.step_cost import StepCost
from tests.llm.policies.world import Plane, Toy, World, best_uniform

GPU = Plane(0.010, 0.0001)


def test_a_number_names_the_policy() -> None:
    assert isinstance(make_policy("3", PolicySetup((), StepCost(GPU), 8)), FixedLength)


@pytest.mark.parametrize(("length", "limit", "nodes"), [(3, 8, 6), (3, 2, 4), (12, 8, 16)])
def test_verifies_exactly_so_many_tokens_of_each(length: int, limit: int, nodes: int) -> None:
    world = World(
        lambda setup: make_policy(str(length), setup), {"lookup": Toy(lambda r, p: 0.5)}, GPU, batch=2, limit=limit
    )
    world.run(20)
    assert set(world.nodes) == {nodes}
    assert world.policy.explain().numbers["draft_length"] == min(length, 8)


def test_zero_rests() -> None:
    world = World(lambda setup: make_policy("0", setup), {"lookup": Toy(lambda r, p: 0.5)}, GPU)
    assert world.run(20) == pytest.approx(1.0)
    assert world.num_rests == 20


def test_the_next_proposer_is_asked_where_the_one_before_is_silent() -> None:
    toys = {
        "lookup": Toy(lambda r, p: 0.9, silent=lambda request, position: request == 1, seed=1),
        "model": Toy(lambda r, p: 0.9, seed=2),
    }
    world = World(lambda setup: make_policy("2", setup), toys, GPU, batch=3)
    world.run(10)
    asks = world.asks[-1]
    assert [(ask.proposer, ask.members) for ask in asks] == [("lookup", (0, 1, 2)), ("model", (1,))]
    assert world.nodes[0] == 4
    assert set(world.nodes[1:]) == {6}
    world.renew(1)
    world.resize(1)


def test_gains_what_arithmetic_says() -> None:
    toy = Toy(lambda r, p: 0.7, shared_s=0.001)
    world = World(lambda setup: make_policy("8", setup), {"model": toy}, GPU, batch=4)
    assert world.run(400) == pytest.approx(best_uniform(0.7, toy, GPU, 4), rel=0.06)


def test_the_preferred_proposer_goes_first_and_rows_are_shared_out() -> None:
    policy = FixedLength(PolicySetup(("lookup", "model"), StepCost(GPU), 8), 2)
    world = World(lambda setup: policy, {"lookup": Toy(lambda r, p: 0.9)}, GPU, batch=2)
    view = world.view()
    policy.order(view)
    tight = type(view)(view.contexts, view.limits, view.load, view.decoding, view.num_tokens, 3, view.now)
    trees = policy.choose(
        tight,
        [
            Proposal("model", 0, DraftTree.chain([9, 9], [0.9, 0.9])),
            Proposal("lookup", 0, DraftTree.chain([5, 5], [0.1, 0.1])),
            Proposal("model", 1, DraftTree.chain([7, 7], [0.9, 0.9])),
        ],
        0.0,
    )
    assert {member: tree.tokens for member, tree in trees.items()} == {0: (5, 5), 1: (7,)}


def test_of_a_tree_the_likeliest_chain_is_verified() -> None:
    tree = DraftTree((5, 6, 7, 8), (-1, -1, 1, 1), (0.4, 0.5, 0.1, 0.3))
    assert likeliest_chain(tree, 9) == DraftTree.chain([6, 8], [0.5, 0.3])
    assert likeliest_chain(tree, 1) == DraftTree.chain([6], [0.5])
    assert likeliest_chain(DraftTree.chain([5, 6], [0.5, 0.4]), 1) == DraftTree.chain([5], [0.5])

"""The goodput policy in a toy world: it finds what is best, gives up what is not, and never costs."""

from __future__ import annotations

from collections import Counter

import pytest

from paceline.llm.draft.tree import DraftTree, defect
from paceline.llm.load import StepLoad
from paceline.llm.policies.goodput import Goodput, make
from paceline.llm.speculation import POLICIES, Call, PolicySetup, Proposal, StepResult, StepView
from paceline.llm.step_cost import StepCost
from tests.llm.policies.world import RIGHT, WRONG, Plane, Toy, World, best_uniform

GPU = Plane(0.010, 0.0001)  # rows are nearly free
CPU = Plane(0.003, 0.0004)
KNEE = Plane(0.010, 0.0005, knee=8)


def draft_model(acceptance: float, plane: Plane) -> Toy:
    return Toy(
        lambda request, position: acceptance,
        shared_s=0.1 * plane.fixed_s,
        per_depth_s=0.05 * plane.fixed_s,
        catches_up=True,
    )


@pytest.mark.parametrize("acceptance", [0.1, 0.5, 0.7, 0.9])
@pytest.mark.parametrize(("plane", "batch"), [(GPU, 1), (GPU, 32), (CPU, 1), (CPU, 8), (KNEE, 8)])
def test_comes_near_the_best_number_of_drafts(plane: Plane, batch: int, acceptance: float) -> None:
    toy = draft_model(acceptance, plane)
    world = World(make, {"model": toy}, plane, batch=batch)
    world.run(250)
    assert world.run(max(100, 1000 // batch)) >= 0.95 * best_uniform(acceptance, toy, plane, batch)


@pytest.mark.parametrize("plane", [GPU, CPU, KNEE])
@pytest.mark.parametrize("batch", [1, 8])
def test_costs_nothing_where_nothing_is_worth_speculating(plane: Plane, batch: int) -> None:
    toys = {"lookup": Toy(lambda request, position: 0.01, lambda depth: 0.9**depth, per_member_s=plane.fixed_s / 500),
            "model": draft_model(0.05, plane)}  # fmt: skip
    world = World(make, toys, plane, batch=batch)
    first = world.run(400)
    assert first > 0.95
    assert world.run(1000) > 0.98
    if batch > 1:
        assert world.num_rests > 1200


def test_a_step_that_rests_asks_nobody_and_new_sequences_get_a_look_soon() -> None:
    world = World(make, {"lookup": Toy(lambda r, p: 0.0, silent=lambda r, p: True, per_member_s=1e-6)}, GPU, batch=4)
    world.run(300)
    num_asks = sum([len(asks) for asks in world.asks])
    world.run(300)
    assert sum([len(asks) for asks in world.asks]) < num_asks + 40  # naps are short where looks cost nothing
    world.renew(2)
    for _ in range(9):
        before = len(world.asks)
        world.step()
        if len(world.asks) > before:
            break
    assert any(2 in ask.members for ask in world.asks[-1])


def test_gives_up_and_comes_back() -> None:
    now = {"acceptance": 0.8}
    toy = Toy(lambda r, p: now["acceptance"], lambda depth: 0.9**depth, per_depth_s=1e-5)
    world = World(make, {"lookup": toy}, GPU, batch=4)
    assert world.run(150) > 2.0
    now["acceptance"] = 0.02
    world.run(150)
    assert world.run(300) > 0.98
    assert sum(world.nodes[-200:]) < 200
    now["acceptance"] = 0.8
    world.run(100)
    assert world.run(50) > 2.0


def test_a_draft_model_that_became_good_is_found_by_catching_up() -> None:
    now = {"acceptance": 0.02}
    toy = Toy(lambda r, p: now["acceptance"], shared_s=0.001, per_depth_s=0.0005, catches_up=True)
    world = World(make, {"model": toy}, GPU, batch=4)
    world.run(400)
    assert {ask.depth for asks in world.asks[-10:] for ask in asks} <= {0}
    now["acceptance"] = 0.8
    world.run(1500)
    assert world.run(50) > 1.8


@pytest.mark.parametrize("plane", [GPU, Plane(0.004, 0.0002)])
def test_settles_within_64_steps_of_a_load_step(plane: Plane) -> None:
    toy = Toy(lambda r, p: 0.7, shared_s=0.1 * plane.fixed_s, per_depth_s=0.03 * plane.fixed_s, catches_up=True)
    world = World(make, {"model": toy}, plane, batch=2)
    world.run(200)
    for batch in (48, 2):
        world.resize(batch)
        world.run(64)
        assert world.run(64) > 0.93 * best_uniform(0.7, toy, plane, batch)


@pytest.mark.parametrize("batch", [1, 4])
def test_the_ledger_stops_what_predictions_do_not_see(batch: int) -> None:
    world = World(make, {"model": draft_model(0.5, GPU)}, GPU, batch=batch, verify_s=0.02)
    world.run(300)
    assert world.policy.explain().numbers["ledger_trips"] >= 1
    assert world.run(2000) > 0.98


@pytest.mark.parametrize("claimed", [0.99, 0.3, 0.6])
def test_badly_scaled_survival_is_calibrated(claimed: float) -> None:
    toy = Toy(lambda r, p: 0.6, lambda depth: claimed**depth, shared_s=0.0005, per_depth_s=0.0002)
    plane = Plane(0.010, 0.0005)
    world = World(make, {"model": toy}, plane, batch=4)
    world.run(300)
    assert world.run(200) > 0.96 * best_uniform(0.6, toy, plane, 4)


def test_each_request_gets_the_proposer_that_suits_it() -> None:
    def toy(parity: int) -> Toy:
        return Toy(lambda request, p: 0.9 if request % 2 == parity else 0.1, lambda depth: 0.8**depth,
                   shared_s=1e-4, per_member_s=4e-4, seed=parity)  # fmt: skip

    world = World(make, {"even": toy(0), "odd": toy(1)}, Plane(0.010, 0.0003), batch=8)
    world.run(300)
    del world.asks[:]
    world.run(100)
    asked = Counter((ask.proposer, member % 2) for asks in world.asks for ask in asks for member in ask.members)
    assert asked["even", 0] > 5 * asked["even", 1]
    assert asked["odd", 1] > 5 * asked["odd", 0]


def test_two_proposers_share_a_tree_where_rows_are_nearly_free() -> None:
    toys = {
        "lookup": Toy(lambda r, p: 0.6, per_member_s=1e-5, seed=1),
        "heads": Toy(lambda r, p: 0.6, shared_s=0.0005, seed=2),
    }
    plane = Plane(0.010, 0.00002)
    world = World(make, toys, plane)
    world.run(100)
    assert world.run(200) > 1.05 * best_uniform(0.6, toys["heads"], plane, 1)
    assert any(not tree.is_chain for tree in _trees(world, 20))


def _trees(world: World, num_steps: int) -> list[DraftTree]:
    trees: list[DraftTree] = []
    for _ in range(num_steps):
        world.step()
        trees += world.trees.values()
    return trees


def test_equal_histories_decide_alike() -> None:
    def history() -> tuple[list[int], list[object], float]:
        toys = {"lookup": Toy(lambda r, p: 0.5, lambda depth: 0.9**depth), "model": draft_model(0.6, GPU)}
        world = World(make, toys, GPU, batch=3)
        world.run(60)
        world.renew(1)
        world.resize(9)
        world.run(60)
        return world.nodes, list(world.asks), world.now_s

    assert history() == history()


def test_unknown_costs_mean_next_to_no_drafts() -> None:
    class Unknown(Plane):
        def predict(self, features: object) -> object:  # type: ignore[override]
            from paceline.decision.cost import UNKNOWN

            return UNKNOWN

    world = World(make, {"lookup": Toy(lambda r, p: 0.9)}, Unknown(0.01), batch=4)
    world.run(200)
    assert 0 < sum(world.nodes) <= 2 * 200 / 16 + 2


def test_trees_are_whole_and_within_limits() -> None:
    toys = {"lookup": Toy(lambda r, p: 0.8, seed=1), "heads": Toy(lambda r, p: 0.7, shared_s=0.0003, seed=2)}
    world = World(make, toys, Plane(0.010, 0.00002), batch=3, max_draft=16, limit=5)
    for tree in _trees(world, 100):
        assert defect(tree, 10, 5) is None


def test_never_more_nodes_than_spare_rows() -> None:
    cost = StepCost(Plane(0.010))
    policy = Goodput(PolicySetup(("lookup",), cost, 8))
    world = World(lambda setup: policy, {"lookup": Toy(lambda r, p: 0.9)}, Plane(0.010), batch=4)
    world.run(30)
    view = world.view()
    tight = StepView(view.contexts, view.limits, view.load, view.decoding, view.num_tokens, 3, view.now)
    assert not policy.rests(4)
    policy.order(tight)
    proposals = [Proposal("lookup", member, DraftTree.chain([RIGHT] * 8, [0.9] * 8)) for member in range(4)]
    trees = policy.choose(tight, proposals, 0.0)
    assert 0 < sum([len(tree) for tree in trees.values()]) <= 3


def test_sequences_may_end_before_their_step_is_learned_from() -> None:
    policy = Goodput(PolicySetup(("lookup",), StepCost(GPU), 8))
    world = World(lambda setup: policy, {"lookup": Toy(lambda r, p: 0.9)}, GPU, batch=2)
    world.run(20)
    view = world.view()
    policy.rests(2)
    asks = policy.order(view)
    tree = DraftTree.chain([RIGHT, WRONG], [0.9, 0.8])
    proposals = [Proposal("lookup", member, tree) for member in range(2)]
    trees = policy.choose(view, proposals, 0.0)
    for context in view.contexts:
        context.tokens.append(RIGHT)
    policy.finish(view.contexts[0])
    calls = [Call(ask.proposer, len(ask.members), ask.depth, 1e-5) for ask in asks]
    policy.learn(view, StepResult(0.01, calls, proposals, [], trees, [1, 1]))
    policy.finish(view.contexts[0])


def test_steps_with_prefill_are_priced_but_not_held_against_drafts() -> None:
    policy = Goodput(PolicySetup(("lookup",), StepCost(GPU), 8))
    world = World(lambda setup: policy, {"lookup": Toy(lambda r, p: 0.9)}, GPU, batch=2)
    world.run(20)
    before = policy.explain().numbers["ledger_balance_s"]
    view = world.view()
    mixed = StepView(view.contexts, view.limits, StepLoad(102, 200, 3), view.decoding, 2, 100, view.now)
    policy.rests(2)
    policy.order(mixed)
    policy.learn(mixed, StepResult(5.0, [], [], [], {}, [1, 1]))
    assert policy.explain().numbers["ledger_balance_s"] == pytest.approx(before, rel=0.1)


def test_explains_itself() -> None:
    world = World(make, {"lookup": Toy(lambda r, p: 0.7, lambda depth: 0.9**depth)}, GPU, batch=2)
    world.run(200)
    explanation = world.policy.explain()
    assert explanation.numbers["speculating"] == 1.0
    assert explanation.numbers["goodput_tokens_per_s"] > world.plain
    assert list(explanation.survival["lookup"][:2]) == pytest.approx([0.7, 0.5], abs=0.12)
    last = explanation.decisions[-1]
    assert len(explanation.decisions) == 64
    assert last.option.startswith("lookup 8 for 2 of 2: ")
    assert last.reason.startswith("pays: +")
    assert last.predicted_s == pytest.approx(last.actual_s)


def test_without_proposers_all_steps_rest() -> None:
    world = World(make, {}, GPU, batch=2)
    world.run(100)
    assert world.num_rests > 80
    assert POLICIES["auto"] is make


def test_drafts_that_know_they_are_good_are_found_among_many_that_are_not() -> None:
    """One stretch of text in eight can be copied; rows are dear, so the average draft does not pay."""
    toy = Toy(lambda request, position: 0.97 if position // 16 % 8 == 0 else 0.02, per_member_s=1e-5)
    world = World(make, {"lookup": toy}, CPU, batch=1, max_draft=16)
    world.run(500)
    assert world.run(1500) > 1.04

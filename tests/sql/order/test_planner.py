"""Plans lose no row, are depth first, beat the baselines and come near the optimum where it can be known."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.sql.items import Items, Order
from paceline.sql.order import OrderOptions, bounds, evaluate, plan
from paceline.sql.order.flat import flatten
from paceline.sql.order.planner import _COLUMNS
from paceline.sql.order.tree import grow
from tests.sql.order.oracle import most_hits, random_items, trie_hits


def check(items: Items, order: Order) -> None:
    """Every row once, every field once, pinned ones last, and the row before holds all that the trie holds."""
    assert sorted(order.rows.tolist()) == list(range(items.num_rows))
    assert (np.sort(order.permutations, axis=1) == np.arange(items.num_fields)).all()
    if items.pinned:
        assert (order.permutations[:, -len(items.pinned) :] == items.pinned).all()
    arrays = (order.rows, order.permutations, order.permutation_of)
    assert order.hits == pytest.approx(trie_hits(items, *arrays))
    assert order.hits == pytest.approx(evaluate(items, *arrays, OrderOptions(cache_tokens=0)))
    assert order.hits <= order.bound + 1e-9


def distinct(items: Items) -> Items:
    same = items.codes.copy()
    for group in items.unordered:
        same[:, list(group)] = np.sort(same[:, list(group)], axis=1)
    first = np.unique(same, axis=0, return_index=True)[1]
    return Items(items.codes[np.sort(first)], items.weights, items.unordered, items.pinned)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(1, 6), st.integers(1, 5), st.booleans(), st.booleans()
)
def test_every_plan_is_sound(
    seed: int, num_rows: int, num_fields: int, num_values: int, unordered: bool, pinned: bool
) -> None:
    items = random_items(np.random.default_rng(seed), num_rows, num_fields, num_values)
    weights = list(items.weights)
    groups: tuple[tuple[int, ...], ...] = ()
    if unordered and num_fields > 2:
        weights[2], groups = weights[0], ((0, 2),)
    pins = (num_fields - 1,) if pinned and num_fields > 3 else ()
    items = distinct(Items(items.codes, tuple(weights), groups, pins))
    check(items, plan(items))


def test_near_the_optimum_on_random_tables() -> None:
    rng = np.random.default_rng(5)
    shares = []
    for _ in range(60):
        items = random_items(rng, 9, 4, int(rng.integers(2, 6)))
        most = most_hits(items)
        order = plan(items)
        assert order.hits <= most + 1e-9 <= order.bound + 2e-9
        shares.append(order.hits / most if most else 1.0)
    assert np.mean(shares) >= 0.985
    assert min(shares) >= 0.90


@pytest.mark.parametrize("field_order", ["fixed", "as_written"])
def test_one_order_for_all_rows(field_order: str) -> None:
    items = random_items(np.random.default_rng(1), 200, 5, 6)
    order = plan(items, OrderOptions(field_order=field_order))  # type: ignore[arg-type]
    check(items, order)
    assert len(order.permutations) == 1
    if field_order == "as_written":
        assert order.permutations[0].tolist() == [0, 1, 2, 3, 4]
    else:
        assert order.hits >= plan(items, OrderOptions(field_order="as_written")).hits


def test_constant_first_unique_last_and_dependent_fields_together() -> None:
    entity = np.random.default_rng(2).integers(0, 10, 60)
    codes = np.stack([np.arange(60), entity, entity // 2, (entity + 3) % 10, np.zeros(60, np.int64)], axis=1)
    weights = tuple(np.full(60, w) for w in (9.0, 3.0, 2.0, 4.0, 1.0))
    order = plan(Items(codes.astype(np.int32), weights))
    assert [set(fields[k : k + 2]) for fields in order.permutations.tolist() for k in (1, 2)].count({1, 3}) == len(
        order.permutations
    )
    assert (order.permutations[:, 0] == 4).all()
    assert (order.permutations[:, -1] == 0).all()


def test_what_others_determine_comes_before_them() -> None:
    rng = np.random.default_rng(9)
    person = rng.integers(0, 150, 400)
    codes = np.stack([person, person % 30, person % 30 % 5, rng.integers(0, 6, 400)], axis=1).astype(np.int32)
    order = plan(Items(codes, (np.full(150, 6.0), np.full(30, 5.0), np.full(5, 2.0), np.full(6, 9.0))))
    places = np.argsort(order.permutations[order.permutation_of], axis=1)
    assert (places[:, 2] < places[:, 1]).mean() > 0.9
    assert (places[:, 1] < places[:, 0]).mean() > 0.9


def test_a_field_that_hardly_repeats_leads_nowhere() -> None:
    rng = np.random.default_rng(10)
    nearly_unique = np.minimum(np.arange(300), 297)  # determines everything, by chance
    codes = np.stack([nearly_unique, rng.integers(0, 20, 300), rng.integers(0, 2, 300)], axis=1).astype(np.int32)
    codes[298:] = codes[297]
    flat = flatten(Items(codes, (np.ones(300), np.full(20, 8.0), np.ones(2))))
    assert not flat.above.any()
    assert flat.led == -1


def test_the_search_ends_when_little_is_at_stake() -> None:
    items = random_items(np.random.default_rng(11), 2000, 6, 12)
    light = Items(items.codes, tuple(weights / 1000.0 for weights in items.weights))
    assert len(plan(light).numbers) == 1
    assert len(plan(items).numbers) > 1


@pytest.mark.parametrize("num_rows", [0, 1, 2])
def test_next_to_nothing(num_rows: int) -> None:
    items = Items(np.zeros((num_rows, 2), np.int32), (np.ones(1), np.ones(1)))
    assert plan(items).hits == max(0, num_rows - 1) * 2.0


def test_all_unique_and_ties_and_disjoint_groups() -> None:
    unique = Items(np.arange(30, dtype=np.int32).repeat(3).reshape(30, 3), (np.ones(30),) * 3)
    assert plan(unique).hits == 0.0
    blocks = np.arange(90, dtype=np.int32).reshape(30, 3)  # each third of the rows shares one field of its own
    for k in range(3):
        blocks[10 * k : 10 * k + 10, k] = 1000
    items = Items(blocks, (np.ones(1001),) * 3)
    assert plan(items).hits == 27.0 == plan(items).bound


def test_the_same_table_has_the_same_plan() -> None:
    items = random_items(np.random.default_rng(3), 3000, 6, 30)
    first, second = plan(items), plan(items)
    assert (first.rows == second.rows).all()
    assert (first.permutations[first.permutation_of] == second.permutations[second.permutation_of]).all()
    assert first.planner == second.planner


def test_more_budget_is_never_worse_and_candidates_are_listed() -> None:
    items = random_items(np.random.default_rng(4), 2000, 6, 12)
    little, much = plan(items, OrderOptions(budget_s=0.0)), plan(items, OrderOptions(budget_s=5.0))
    assert little.hits <= much.hits == max(found["hits"] for found in much.numbers.values())
    assert len(little.numbers) == 1 < len(much.numbers)


@pytest.mark.parametrize("led", [-1, 2])
def test_pieces_are_as_sound_as_the_whole(led: int) -> None:
    items = distinct(random_items(np.random.default_rng(6), 4000, 6, 9))
    flat = flatten(items)
    whole, cut = (grow(flat, _COLUMNS._replace(led=led), max_piece=size) for size in (4000, 150))
    for draft in (whole, cut):
        assert sorted(draft.rows.tolist()) == list(range(items.num_rows))
        wide = flat.widen(draft.permutations)
        assert trie_hits(items, draft.rows, wide, draft.permutation_of) == pytest.approx(draft.saved)
    assert cut.saved >= 0.9 * whole.saved


def test_options_of_the_cache_are_what_is_counted() -> None:
    items = random_items(np.random.default_rng(7), 500, 5, 5)
    for options in (
        OrderOptions(block=16, static=10),
        OrderOptions(weighting="squared"),
        OrderOptions(cache_tokens=500),
    ):
        order = plan(items, options)
        assert order.hits == evaluate(items, order.rows, order.permutations, order.permutation_of, options)


def test_bounds_hold_on_a_table_too_large_for_the_proof() -> None:
    items = random_items(np.random.default_rng(8), 3000, 4, 40)
    simple, neighbour = bounds(items)
    assert plan(items).hits <= min(simple, neighbour)


def test_importing_the_package_compiles_nothing() -> None:
    code = "import sys, paceline.sql.order; assert not {'numba', 'pyarrow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

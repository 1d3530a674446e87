"""The orders to compare with: sound, and never better than the planner on tables it should win."""

from __future__ import annotations

import numpy as np
import pytest

from paceline.sql.items import Items
from paceline.sql.order import OrderOptions, evaluate, plan
from paceline.sql.order.baselines import Plan, as_is, ggr, sorted_rows, v1_rule
from tests.sql.order.oracle import random_items


def hits(items: Items, planned: Plan) -> float:
    rows, fields_of = planned
    assert sorted(rows) == list(range(items.num_rows))
    assert all(sorted(fields) == list(range(items.num_fields)) for fields in fields_of)
    arrays = np.array(rows), np.array(fields_of, np.int16), np.arange(len(rows), dtype=np.int32)
    return evaluate(items, *arrays, OrderOptions(cache_tokens=0))


def test_as_is_and_sorted_keep_the_fields() -> None:
    items = Items(np.array([[0, 0], [1, 0], [0, 0]], np.int32), (np.array([3.0, 3.0]), np.ones(1)))
    assert as_is(items) == ([0, 1, 2], [(0, 1)] * 3)
    assert sorted_rows(items)[0] == [0, 2, 1]
    assert hits(items, as_is(items)) == 0.0
    assert hits(items, sorted_rows(items)) == 4.0


def test_v1_puts_long_values_of_few_kinds_first() -> None:
    codes = np.stack([np.arange(8), np.arange(8) // 4, np.arange(8) % 2], axis=1).astype(np.int32)
    items = Items(codes, (np.full(8, 30.0), np.full(2, 20.0), np.full(2, 2.0)))
    assert v1_rule(items)[1][0] == (1, 0, 2)


def test_ggr_finds_the_groups_of_different_columns() -> None:
    codes = np.arange(90, dtype=np.int32).reshape(30, 3)
    for k in range(2):
        codes[10 * k : 10 * k + 10, k] = 1000
    items = Items(codes, (np.full(1001, 50.0),) * 3)
    assert hits(items, ggr(items)) == 18 * 50.0


def test_ggr_leaves_nearly_unique_columns_last_and_stops_at_small_scores() -> None:
    codes = np.stack([np.arange(40), np.arange(40) % 4], axis=1).astype(np.int32)
    items = Items(codes, (np.full(40, 90.0), np.full(4, 1.0)))
    rows, fields_of = ggr(items)
    assert set(fields_of) == {(1, 0)}
    assert rows[:3] == [0, 4, 8]


def test_ggr_moves_dependent_fields_together() -> None:
    entity = np.arange(60) % 6
    codes = np.stack([np.arange(60) % 20, entity, entity], axis=1).astype(np.int32)
    items = Items(codes, (np.full(20, 5.0), np.full(6, 40.0), np.full(6, 40.0)))
    assert {fields[:2] for fields in ggr(items, [(1, 2)])[1]} == {(1, 2)}


@pytest.mark.parametrize("seed", range(4))
def test_the_planner_beats_them_all(seed: int) -> None:
    items = random_items(np.random.default_rng(seed), 1500, 6, 25)
    best = plan(items).hits
    for baseline in (as_is, sorted_rows, v1_rule, ggr):
        assert hits(items, baseline(items)) <= best

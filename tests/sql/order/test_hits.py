"""Hits are exact: against a trie walked cell by cell, in any order, with any rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.errors import ConfigError
from paceline.sql.items import Items
from paceline.sql.order import OrderOptions, evaluate
from tests.sql.order.oracle import random_items, trie_hits


def shuffled(items: Items, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    permutations = np.stack([rng.permutation(items.num_fields) for _ in range(3)]).astype(np.int16)
    return rng.permutation(items.num_rows), permutations, rng.integers(0, 3, items.num_rows).astype(np.int32)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.integers(1, 6), st.integers(1, 4))
def test_any_order_hits_what_a_naive_trie_hits(seed: int, num_rows: int, num_fields: int, num_values: int) -> None:
    rng = np.random.default_rng(seed)
    items = random_items(rng, num_rows, num_fields, num_values)
    order = shuffled(items, rng)
    assert evaluate(items, *order) == pytest.approx(trie_hits(items, *order))
    roomy = OrderOptions(cache_tokens=10**6)
    assert evaluate(items, *order, roomy) == pytest.approx(trie_hits(items, *order))
    assert evaluate(items, *order, OrderOptions(cache_tokens=0)) <= evaluate(items, *order) + 1e-9


TWO_ROWS = Items(np.zeros((2, 2), np.int32), (np.array([10.0]), np.array([7.0])))
ORDER = (np.arange(2), np.array([[0, 1]], np.int16), np.zeros(2, np.int32))


@pytest.mark.parametrize(
    ("options", "hits"),
    [
        (OrderOptions(), 17.0),
        (OrderOptions(block=16), 16.0),
        (OrderOptions(block=16, static=20), 12.0),  # 37 tokens are two blocks, 20 of them are static
        (OrderOptions(block=16, minimum=32), 0.0),
        (OrderOptions(minimum=37, static=20), 17.0),
        (OrderOptions(minimum=38, static=20), 0.0),
        (OrderOptions(weighting="squared"), 149.0),
        (OrderOptions(cache_tokens=10), 10.0),  # the deeper cell leaves first
        (OrderOptions(cache_tokens=9), 0.0),
        (OrderOptions(cache_tokens=20, static=10), 10.0),
    ],
)
def test_rules_of_the_cache(options: OrderOptions, hits: float) -> None:
    assert evaluate(TWO_ROWS, *ORDER, options) == hits


def test_a_cache_forgets_what_was_used_longest_ago() -> None:
    items = Items(np.array([[0], [1], [0], [2], [0], [1]], np.int32), (np.ones(3),))
    order = (np.arange(6), np.zeros((1, 1), np.int16), np.zeros(6, np.int32))
    assert evaluate(items, *order, OrderOptions(cache_tokens=2)) == 2.0  # row 1's value has left when row 5 asks
    assert evaluate(items, *order, OrderOptions(cache_tokens=3)) == 3.0
    assert evaluate(items, *order, OrderOptions(cache_tokens=0)) == 0.0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"weighting": "cubic"}, "weighting must be one of linear, squared, got 'cubic'"),
        ({"field_order": "best"}, "field_order must be one of auto, fixed, as_written"),
        ({"block": 0}, "block must be >= 1, got 0"),
        ({"budget_s": float("nan")}, "budget_s must be >= 0"),
        ({"weighting": "squared", "block": 16}, "squared weights are no tokens"),
    ],
)
def test_wrong_options_are_named(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        OrderOptions(**wrong)

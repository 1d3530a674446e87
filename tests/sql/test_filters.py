"""The order of LLM filters, the pilot, and filters that stop early: counted in requests."""

from __future__ import annotations

import random

import pytest

from paceline.sql import connect
from paceline.sql.load import RequestLoad
from paceline.sql.optimizer import FilterOrder
from tests.sql.fakes import Model


def rows(num: int, seed: int = 0) -> dict[str, list[object]]:
    """A rare word in one of ten rows, a common one in eight of ten."""
    rng = random.Random(seed)
    return {
        "id": list(range(num)),
        "one": [f"{'rare' if rng.random() < 0.1 else 'other'} {row}" for row in range(num)],
        "two": [f"{'common' if rng.random() < 0.8 else 'other'} {row}" for row in range(num)],
    }


@pytest.mark.parametrize("query", [
    "llm_filter('has common?', two) AND llm_filter('has rare?', one)",
    "llm_filter('has rare?', one) AND llm_filter('has common?', two)",
])  # fmt: skip
def test_the_filter_that_removes_more_goes_first_however_it_is_written(query: str) -> None:
    model, data = Model(), rows(1000)
    with connect(model, store=False) as con:
        con.register("t", data)
        found = {row[0] for row in con.sql(f"SELECT id FROM t WHERE {query}").fetchall()}
    expected = {row for row in range(1000) if "rare" in str(data["one"][row]) and "common" in str(data["two"][row])}
    assert found == expected
    assert len(model.asked) < 1000 + 100 + 150, "all rows the rare one, the pilot both, the rest what passed"


def test_pilot_answers_are_kept() -> None:
    model = Model()
    with connect(model, store=False) as con:
        con.register("t", rows(1000))
        con.sql("SELECT id FROM t WHERE llm_filter('has rare?', one) AND llm_filter('has common?', two)")
    assert len(model.asked) == len(set(model.asked))


def test_a_limit_stops_asking() -> None:
    model = Model()
    with connect(model, store=False) as con:
        con.register("t", rows(1000))
        found = con.sql("SELECT id FROM t WHERE llm_filter('has common?', two) LIMIT 10").fetchall()
    assert len(found) == 10
    assert len(model.asked) < 30


def test_a_limit_by_an_order_gives_the_first_rows() -> None:
    model, data = Model(), rows(1000)
    with connect(model, store=False) as con:
        con.register("t", data)
        found = con.sql("SELECT id FROM t WHERE llm_filter('has rare?', one) ORDER BY id DESC LIMIT 5").fetchall()
    rare = [row for row in range(1000) if "rare" in str(data["one"][row])]
    assert [row[0] for row in found] == rare[::-1][:5]
    assert len(model.asked) < 150


def test_a_limit_that_cannot_be_met_asks_everything_once() -> None:
    model = Model()
    with connect(model, store=False) as con:
        con.register("t", rows(300))
        found = con.sql("SELECT id FROM t WHERE llm_filter('has nothing?', one) LIMIT 5").fetchall()
    assert found == []
    assert len(model.asked) == len(set(model.asked)) == 300


def test_a_dear_filter_waits_unless_it_removes_far_more() -> None:
    policy = FilterOrder(2)
    policy.observe(0, num_passed=50, num_rows=100)
    policy.observe(1, num_passed=40, num_rows=100)
    cheap, dear = RequestLoad(1, 100.0, 0.0, 2.0), RequestLoad(1, 2000.0, 0.0, 2.0)
    assert policy.sequence([cheap, dear]) == [0, 1]
    assert policy.sequence([dear, cheap]) == [1, 0]
    assert policy.sequence([cheap, cheap]) == [1, 0]


def test_few_rows_need_no_pilot() -> None:
    assert FilterOrder(1).pilot_rows(10_000) == 0
    assert FilterOrder(2).pilot_rows(4) == 0
    assert FilterOrder(2).pilot_rows(10_000) == 100

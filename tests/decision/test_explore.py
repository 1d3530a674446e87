"""Trials keep to their budget, come back ever later, and are the same every time."""

from __future__ import annotations

import math

import pytest

from paceline.decision import Explorer, Option
from paceline.errors import ConfigError

HOPEFUL = [Option(value, 10.0 * (value + 1), 0.010) for value in range(4)]


def history(num_steps: int, explorer: Explorer[int], extra_s: float = 0.002) -> list[tuple[int, int]]:
    tried = []
    for step in range(num_steps):
        value = explorer.pick(HOPEFUL, to_beat=1000.0)
        if value is None:
            explorer.earn(0.010)
        else:
            tried.append((step, value))
            explorer.pay(value, extra_s, gained=False)
    return tried


def test_the_budget_holds() -> None:
    explorer = Explorer[int](budget=0.01, first_interval=1, max_interval=1)
    history(20_000, explorer)
    assert explorer.spent_s == pytest.approx(0.01 * 20_000 * 0.010, rel=0.05)


def test_only_what_could_win_is_tried_and_in_order() -> None:
    tried = history(5000, Explorer[int](budget=0.2, first_interval=64))
    assert {value for _, value in tried} == {1, 2, 3}
    assert [value for _, value in tried[:3]] == [1, 2, 3]


def test_pauses_double_and_a_gain_or_a_reset_shortens_them() -> None:
    explorer = Explorer[int](budget=1.0, first_interval=8, max_interval=32)
    only = [Option(1, 100.0, 0.001)]

    def steps_until_due() -> int:
        for step in range(1000):
            if explorer.pick(only, to_beat=0.0) is not None:
                return step
            explorer.earn(0.010)
        raise AssertionError("never due")

    pauses = []
    for gained in (False, False, False, False, True, False):
        pauses.append(steps_until_due())
        explorer.pay(1, 0.0, gained=gained)
    assert pauses == [1, 8, 16, 32, 32, 8]
    explorer.reset()
    assert steps_until_due() == 0


def test_the_unknown_is_reason_enough() -> None:
    explorer = Explorer[str]()
    explorer.earn(1.0)
    assert explorer.pick([Option("known", 1.0, 1.0), Option("unknown", 1.0, math.inf)], to_beat=5.0) == "unknown"


def test_savings_are_bounded_and_equal_histories_explore_alike() -> None:
    saver = Explorer[int](budget=0.01, max_interval=100, first_interval=10)
    for _ in range(10_000):
        saver.earn(0.010)
    assert saver.balance_s == pytest.approx(100 * 0.01 * 0.010)
    assert history(3000, Explorer[int]()) == history(3000, Explorer[int]())


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="budget"):
        Explorer(budget=2.0)
    with pytest.raises(ConfigError, match="intervals"):
        Explorer(first_interval=5, max_interval=4)


def test_many_steps_earn_at_once_what_they_earn_one_by_one() -> None:
    together, apart = Explorer[int](budget=0.01), Explorer[int](budget=0.01)
    together.earn(0.010, 50)
    for _ in range(50):
        apart.earn(0.010)
    assert together.balance_s == pytest.approx(apart.balance_s)
    together.earn(0.010, 10**6)
    assert together.balance_s == pytest.approx(0.01 * 0.010 * 1024)

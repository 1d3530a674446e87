"""Predictions of launch times: learned from few, not led astray by pauses, and how large a group they call best."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.multiplex.load import Cost, Costs, SegmentCost, features, row_bucket, segment_model


def truth(num_slots: int, rows_each: int) -> float:
    return 200e-6 + 8e-6 * num_slots + 2e-6 * num_slots * rows_each


def learned(seconds: object = truth, rounds: int = 4) -> SegmentCost:
    cost = SegmentCost(segment_model())
    for _ in range(rounds):
        for num_slots in (1, 2, 4, 8, 16):
            for rows_each in (1, 4):
                cost.observe(num_slots, rows_each, seconds(num_slots, rows_each))  # type: ignore[operator]
    return cost


@given(st.integers(1, 1 << 16))
def test_rows_are_padded_to_the_next_power_of_two(rows: int) -> None:
    assert rows <= row_bucket(rows) < 2 * rows
    assert row_bucket(rows).bit_count() == 1


def test_features_count_padding() -> None:
    assert features(3, 4) == (3.0, 12.0)


def test_nothing_is_known_at_first_and_that_costs_nothing() -> None:
    cost = Costs()["new"]
    assert cost.predict(4, 1) == Cost(0, 0)
    assert cost.best_size(64) == 1


@pytest.mark.parametrize("load", [(1, 1), (16, 4), (11, 2), (32, 1)])
def test_a_line_is_learned_and_holds_between_and_beyond_what_was_seen(load: tuple[int, int]) -> None:
    assert learned().predict(*load).mean == pytest.approx(1e6 * truth(*load), rel=0.03)


def test_steps_of_kernels_are_learned_where_they_are() -> None:
    def steps(num_slots: int, rows_each: int) -> float:
        return truth(num_slots, rows_each) * (1.4 if num_slots == 4 else 1.0)

    cost = learned(steps, rounds=60)
    for num_slots in (1, 2, 4, 8, 16):
        assert cost.predict(num_slots, 1).mean == pytest.approx(1e6 * steps(num_slots, 1), rel=0.1)


def test_single_pauses_of_the_machine_are_not_learned() -> None:
    cost = learned()
    for number in range(200):
        cost.observe(8, 1, truth(8, 1) * (50.0 if number % 5 == 0 else 1.0))
    assert cost.predict(8, 1).mean == pytest.approx(1e6 * truth(8, 1), rel=0.05)


def test_a_machine_that_gets_slower_is_followed() -> None:
    cost = learned()
    for _ in range(1000):
        cost.observe(8, 1, 1.5 * truth(8, 1))
    assert cost.predict(8, 1).mean == pytest.approx(1.5e6 * truth(8, 1), rel=0.05)


def test_the_upper_bound_holds_three_times_of_four() -> None:
    chance = random.Random(0)

    def noisy(num_slots: int, rows_each: int) -> float:
        return truth(num_slots, rows_each) * chance.lognormvariate(0.0, 0.1)

    cost = learned(noisy, rounds=40)
    kept = sum(1e6 * noisy(8, 1) <= cost.predict(8, 1).upper for _ in range(1000))
    assert 650 <= kept < 850


def test_on_a_quiet_machine_the_bound_is_the_mean() -> None:
    cost = learned(rounds=20)
    assert cost.predict(8, 1).upper <= 1.03 * cost.predict(8, 1).mean


def test_the_best_size_is_the_largest_while_every_slot_gains() -> None:
    assert learned().best_size(64) == 64


def test_the_best_size_ends_where_weights_leave_the_cache() -> None:
    def beyond(num_slots: int, rows_each: int) -> float:
        return truth(num_slots, rows_each) * (1.0 if num_slots <= 8 else 4.0)

    assert learned(beyond, rounds=60).best_size(16) == 8


def test_when_nothing_is_gained_there_are_no_groups() -> None:
    assert learned(lambda num_slots, _: 100e-6 * num_slots, rounds=20).best_size(16) == 1


def test_a_group_is_tried_once_in_a_while_although_it_looks_bad() -> None:
    cost = learned(lambda num_slots, _: 100e-6 * num_slots, rounds=20)
    trials = [size for _ in range(20_000) if (size := cost.trial_size(1, 16))]
    assert trials, "launches may have become better since"
    cost.tried(trials[0], 1, 1, 100e-6 * trials[0])
    assert sum(cost.trial_size(1, 16) == trials[0] for _ in range(64)) <= 1, "and then not for a while"


def test_trials_that_were_good_change_the_size() -> None:
    cost = learned(lambda num_slots, _: 100e-6 * num_slots, rounds=20)
    for _ in range(20):
        cost.tried(16, 1, 1, 120e-6)
    assert cost.best_size(16) == 16


def test_a_share_is_what_a_slot_costs_in_a_good_group() -> None:
    assert learned().share(16, 1) == pytest.approx(1e6 * truth(16, 1) / 16, abs=2.0)


def test_costs_of_a_key_are_the_same_for_all_who_ask() -> None:
    costs = Costs()
    assert costs["a"] is costs["a"]
    assert costs["a"] is not costs["b"]

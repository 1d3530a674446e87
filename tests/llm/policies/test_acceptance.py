"""Rates by depth and key: learned, shrunk, aged; and what they say of a proposal."""

from __future__ import annotations

import pytest

from paceline.llm.draft.tree import DraftTree
from paceline.llm.policies.acceptance import (
    NUM_BINS,
    NUM_DEPTHS,
    OddsRatio,
    RateTable,
    bin_of,
    calibrated,
    calibration,
    form_of,
    observe_chain,
)


def test_rates_start_at_the_guesses() -> None:
    table = RateTable([0.2, 0.8])
    assert table.rates == [0.2, 0.8] * NUM_DEPTHS
    table.refresh(100)
    assert table.rates == [0.2, 0.8] * NUM_DEPTHS


def test_a_depth_never_tried_leans_on_the_one_above() -> None:
    table = RateTable([0.5])
    for _ in range(200):
        table.observe(0, 0, hit=True)
    table.refresh()
    assert min(table.rates) > 0.9


def test_later_depths_know_nothing_of_the_luck_of_the_first() -> None:
    """An n-gram is seldom right at all, but then for long."""
    table = RateTable([0.5])
    for place in range(300):
        table.observe_run(3 if place % 10 == 0 else 0, 0, miss=place % 10 > 0)
    table.refresh()
    assert table.rates[0] < 0.15
    assert min(table.rates[1:]) > 0.8


def test_all_depths_beyond_the_last_share_a_cell() -> None:
    table = RateTable([0.5])
    assert table.observe_run(20, 0, miss=True) == pytest.approx(0.5 * 21)
    assert table.tries[-1] == 21 - (NUM_DEPTHS - 1)


def test_age_takes_away_evidence_but_not_the_last() -> None:
    table = RateTable([0.5])
    for _ in range(1000):
        table.observe(0, 0, hit=True)
    table.refresh(50)
    assert table.tries[0] == pytest.approx(1000 * 0.99**50)
    table.refresh(100_000)
    assert table.tries[0] == pytest.approx(200.0)


def test_mean_survival_stops_where_nothing_was_tried() -> None:
    table = RateTable([0.5, 0.5])
    table.observe_run(1, 0, miss=True)
    table.observe_run(0, 1, miss=True)
    assert table.mean_survival() == [0.5, 0.0]


@pytest.mark.parametrize("odds", [0.01, 1.0, 100.0])
def test_calibrated_survival_falls_along_every_path(odds: float) -> None:
    table = calibration()
    for _ in range(50):
        observe_chain(table, (0.9, 0.8, 0.7), 3, miss=False)
    table.refresh()
    tree = DraftTree((5, 6, 7, 8, 9), (-1, -1, 0, 2, 1), (0.9, 0.1, 0.9, 0.5, 0.0))
    chances = calibrated(tree, table.rates, odds)
    for node, parent in enumerate(tree.parents):
        assert 0.0 <= chances[node] <= (chances[parent] if parent >= 0 else 1.0)


def test_chain_and_tree_are_calibrated_alike() -> None:
    table = calibration()
    for _ in range(30):
        observe_chain(table, (0.9, 0.45, 0.4), 1, miss=True)
    table.refresh()
    chain = DraftTree.chain([5, 6, 7], [0.9, 0.45, 0.4])
    tree = DraftTree((5, 6, 7, 8), (-1, 0, 1, -1), (0.9, 0.45, 0.4, 0.05))
    assert calibrated(tree, table.rates, 1.5)[:3] == pytest.approx(calibrated(chain, table.rates, 1.5))


def test_deep_nodes_of_hopeless_drafts_do_not_divide_by_zero() -> None:
    assert calibrated(DraftTree.chain([5, 6], [0.0, 0.0]), calibration().rates, 1.0)[1] >= 0.0
    assert bin_of(0.0, 0.0) == 0
    assert bin_of(0.5, 0.5) == NUM_BINS - 1


def test_odds_follow_one_kind_of_nodes() -> None:
    ratio = OddsRatio(strength=8.0)
    for _ in range(100):
        ratio.observe(hits=0.9, expected=0.5, tries=1.0)
    assert ratio.applied(0.5, 1.0) == pytest.approx(0.845, abs=0.01)
    ratio.age(0.0)
    ratio.observe(0.0, 0.0, 0.0)
    assert ratio.value == 1.0
    assert ratio.applied(0.0, 1.0) == 0.0


def test_forms_grow_with_the_run() -> None:
    assert [form_of(run) for run in (0.0, 0.5, 2.0, 30.0)] == [1, 2, 3, 4]

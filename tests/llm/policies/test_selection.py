"""The choice of nodes against brute force."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.llm.draft.tree import DraftTree
from paceline.llm.policies.selection import cut, likeliest, select

SHARES = st.lists(st.floats(0.02, 1.0), min_size=0, max_size=4)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(SHARES, min_size=1, max_size=3),
    st.lists(st.floats(0.0, 1.0), min_size=13, max_size=13),
    st.floats(0.0, 2.0),
)
def test_no_lengths_do_better(conditional: list[list[float]], steps: list[float], draft_s: float) -> None:
    curve = [1.0]
    for extra in steps:
        curve.append(curve[-1] + extra)  # any staircase
    chains: list[list[float]] = []
    for shares in conditional:
        chains.append([])
        for share in shares:
            chains[-1].append(share * (chains[-1][-1] if chains[-1] else 1.0))
    flat = [share for chain in chains for share in chain if share >= 0.01]
    chosen = select(sorted(flat, reverse=True), len(chains), curve, draft_s)
    found = (len(chains) + chosen.gain) / chosen.seconds
    for lengths in product(*[range(sum(share >= 0.01 for share in chain) + 1) for chain in chains]):
        gain = sum([sum(chain[:length]) for chain, length in zip(chains, lengths, strict=True)])
        assert (len(chains) + gain) / (draft_s + curve[sum(lengths)]) <= found * (1.0 + 1e-9)


def test_crosses_a_stair_if_the_landing_pays() -> None:
    curve = [1.0, 1.9, 1.9, 1.9, 1.9]
    assert select([0.8, 0.8, 0.8, 0.8], 1, curve, 0.0).num_nodes == 4
    assert select([0.8], 1, curve, 0.0).num_nodes == 0


def test_rows_of_unknown_cost_are_not_chosen_and_overheads_count() -> None:
    assert select([0.9, 0.9], 1, [1.0, 0.0, 0.0], 0.0).num_nodes == 0
    assert select([0.9], 1, [1.0, 1.0], 0.0, extra_s=1.0).num_nodes == 0


def test_parents_come_with_their_children() -> None:
    places = likeliest([0.5, 0.9, 0.5, 0.5, 0.2], 3)
    assert places == [1, 0, 2]
    assert likeliest([0.5, 0.04], 9, least=0.05) == [0]


@pytest.mark.parametrize("nodes", [[0], [1, 0], [0, 2], [2, 0, 1]])
def test_a_cut_tree_is_what_keep_gives(nodes: list[int]) -> None:
    tree = DraftTree((5, 6, 7), (-1, 0, -1), (0.9, 0.8, 0.1))
    assert cut(tree, nodes) == tree.keep(nodes)

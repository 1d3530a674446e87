"""Two proposals as one tree."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.llm.draft.proposer import Context
from paceline.llm.draft.tree import MAX_NODES, DraftTree, defect
from paceline.llm.policies.merging import Merging


@st.composite
def trees(draw: st.DrawFn) -> DraftTree:
    parents: list[int] = []
    tokens: list[int] = []
    survival: list[float] = []
    for node in range(draw(st.integers(1, 12))):
        parent = draw(st.integers(-1, node - 1))
        token = draw(st.integers(0, 5))
        if any(p == parent and t == token for p, t in zip(parents, tokens, strict=True)):
            continue
        if parent >= len(parents):
            continue
        parents.append(parent)
        tokens.append(token)
        survival.append((survival[parent] if parent >= 0 else 1.0) * draw(st.floats(0.0, 1.0)))
    return DraftTree(tuple(tokens), tuple(parents), tuple(survival))


def paths(tree: DraftTree) -> set[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for token, parent in zip(tree.tokens, tree.parents, strict=True):
        found.append((*(found[parent] if parent >= 0 else ()), token))
    return set(found)


@settings(max_examples=60, deadline=None)
@given(trees(), trees())
def test_holds_all_paths_of_both_once_and_is_whole(one: DraftTree, other: DraftTree) -> None:
    tree = Merging().merged(one, other, Context([1], 1))
    assert paths(tree) == paths(one) | paths(other)
    assert len(tree) == len(paths(tree))
    assert defect(tree, 10, 64) is None


def test_agreement_raises_hope_and_rivals_share_it() -> None:
    merging = Merging()
    both = merging.merged(DraftTree.chain([5], [0.6]), DraftTree.chain([5], [0.6]), Context([1], 1))
    assert both.survival[0] == pytest.approx(0.84)
    rivals = merging.merged(DraftTree.chain([5], [0.9]), DraftTree.chain([6], [0.6]), Context([1], 1))
    assert sum(rivals.survival) < 1.0
    assert rivals.survival[0] > rivals.survival[1]


def test_learns_that_agreement_means_little() -> None:
    merging = Merging()
    for _ in range(200):
        context = Context([1], 1)
        merging.merged(DraftTree.chain([5, 6], [0.5, 0.2]), DraftTree.chain([5, 7], [0.5, 0.2]), context)
        context.tokens.append(9)
        merging.learn()
    tree = merging.merged(DraftTree.chain([5], [0.5]), DraftTree.chain([5], [0.5]), Context([1], 1))
    assert tree.survival[0] < 0.1


def test_of_two_that_differ_the_right_one_is_learned_deeper_too() -> None:
    merging = Merging()
    one, other = DraftTree.chain([5, 6], [0.9, 0.45]), DraftTree.chain([5, 7], [0.9, 0.45])
    for _ in range(200):
        context = Context([1], 1)
        merging.merged(one, other, context)
        context.tokens += [5, 7]
        merging.learn()
    tree = merging.merged(one, other, Context([1], 1))
    assert tree.survival[0] > 0.95


def test_a_large_union_is_cut_to_what_can_be_verified() -> None:
    one = DraftTree.chain([5] * 40, [0.99**place for place in range(40)])
    other = DraftTree.chain([6] * 40, [0.9**place for place in range(40)])
    tree = Merging().merged(one, other, Context([1], 1))
    assert len(tree) == MAX_NODES
    assert defect(tree, 10, 64) is None

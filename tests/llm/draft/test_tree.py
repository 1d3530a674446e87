from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.llm.draft.tree import MAX_NODES, NO_DRAFT, DraftTree, defect


@st.composite
def trees(draw: st.DrawFn) -> DraftTree:
    """Small alphabets, so that branches meet; no two children of a node are alike."""
    tokens: list[int] = []
    parents: list[int] = []
    survival: list[float] = []
    for node in range(draw(st.integers(0, 12))):
        parent = draw(st.integers(-1, node - 1))
        token = draw(st.integers(0, 3))
        if (parent, token) in zip(parents, tokens, strict=True):
            break
        tokens.append(token)
        parents.append(parent)
        survival.append(0.8 * (survival[parent] if parent >= 0 else 1.0))
    return DraftTree(tuple(tokens), tuple(parents), tuple(survival))


def texts(tree: DraftTree) -> set[tuple[int, ...]]:
    """Every path from the top to a node, as tokens."""
    found: list[tuple[int, ...]] = []
    for token, parent in zip(tree.tokens, tree.parents, strict=True):
        found.append((*(found[parent] if parent >= 0 else ()), token))
    return set(found)


@given(trees(), trees())
def test_merged_holds_both_once(left: DraftTree, right: DraftTree) -> None:
    both = left.merged(right)
    assert texts(both) == texts(left) | texts(right)
    assert len(both) == len(texts(both))
    assert defect(both, 4, 20) is None


@given(trees(), st.lists(st.integers(0, 3), max_size=6))
def test_path_is_the_longest_agreement(tree: DraftTree, text: list[int]) -> None:
    path = tree.path(text)
    known = texts(tree)
    length = max((n for n in range(len(text) + 1) if n == 0 or tuple(text[:n]) in known), default=0)
    assert [tree.tokens[node] for node in path] == text[:length]
    assert [tree.parents[node] for node in path] == [-1, *path[:-1]][: len(path)]


@given(trees(), st.data())
def test_keeping_closed_nodes_keeps_their_texts(tree: DraftTree, data: st.DataObject) -> None:
    kept: set[int] = set()
    for node, parent in enumerate(tree.parents):
        if (parent < 0 or parent in kept) and data.draw(st.booleans()):
            kept.add(node)
    assert texts(tree.keep(kept)) <= texts(tree)
    assert len(tree.keep(kept)) == len(kept)


def test_chains() -> None:
    assert DraftTree.chain([1, 2, 3], [0.3, 0.2, 0.1]).is_chain
    assert NO_DRAFT.is_chain
    assert not DraftTree((1, 2), (-1, -1), (0.3, 0.2)).is_chain


@pytest.mark.parametrize(
    ("tokens", "parents", "survival", "fault"),
    [
        ((1, 2), (-1,), (0.5, 0.4), "2 tokens, 1 parents"),
        ((1,) * 64, tuple(range(-1, 63)), (0.5,) * 64, f"at most {MAX_NODES}"),
        ((9,), (-1,), (0.5,), "token ids"),
        ((-1,), (-1,), (0.5,), "token ids"),
        ((1.0,), (-1,), (0.5,), "token ids"),
        ((1, 2), (-1, 1), (0.5, 0.4), "parents come first"),
        ((1, 2), (-1, -2), (0.5, 0.4), "parents come first"),
        ((1,), (-1,), (1.5,), "survival"),
        ((1,), (-1,), (float("inf"),), "survival"),
        ((1, 2), (-1, 0), (0.5, 0.6), "likelier"),
        ((1, 2, 3), (-1, 0, 1), (0.5, 0.4, 0.3), "3 tokens deep, 2 were asked for"),
    ],
)
def test_defects_are_named(
    tokens: Sequence[int], parents: Sequence[int], survival: Sequence[float], fault: str
) -> None:
    found = defect(DraftTree(tuple(tokens), tuple(parents), tuple(survival)), 8, 2 if len(tokens) < 60 else 99)
    assert found is not None
    assert fault in found


def test_other_things_are_no_trees() -> None:
    assert defect([1, 2], 8, 4) == "a DraftTree was expected, got list"
    assert defect(NO_DRAFT, 8, 4) is None

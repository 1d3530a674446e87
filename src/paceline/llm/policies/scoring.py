"""All drafts of a step as one list of nodes with calibrated survival. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, final

from paceline.llm.draft.proposer import Context
from paceline.llm.draft.tree import DraftTree
from paceline.llm.policies.grading import Grading
from paceline.llm.policies.merging import Merging
from paceline.llm.policies.selection import cut, likeliest
from paceline.llm.speculation import Proposal


class _Draft(NamedTuple):
    member: int
    tree: DraftTree
    chances: list[float]
    first: int  # place of its first node among all nodes


@final
class Drafts:
    """One tree for each member that has any; nodes of all trees have places, one after another."""

    __slots__ = ("_chances", "_drafts", "_owners")

    def __init__(self, trees: Mapping[int, tuple[DraftTree, list[float]]]) -> None:
        self._drafts: list[_Draft] = []
        self._owners: list[int] = []  # of each node
        self._chances: list[float] = []
        for member, (tree, chances) in trees.items():
            self._owners += [len(self._drafts)] * len(chances)
            self._drafts.append(_Draft(member, tree, chances, len(self._chances)))
            self._chances += chances

    def ranked(self, most: int, least: float) -> tuple[Sequence[int], list[float]]:
        """Places of the likeliest nodes, likeliest first, and their chances; without those below ``least``."""
        chances = self._chances
        places = likeliest(chances, most, least)
        return places, [chances[place] for place in places]

    def trees(self, places: Sequence[int]) -> dict[int, DraftTree]:
        """What of each tree is among ``places``, by member."""
        if not places:
            return {}
        if len(self._drafts) == 1:
            return {self._drafts[0].member: cut(self._drafts[0].tree, places)}
        nodes: dict[int, list[int]] = {}
        for place in places:
            nodes.setdefault(self._owners[place], []).append(place)
        trees = {}
        for owner, owned in nodes.items():
            member, tree, _, first = self._drafts[owner]
            trees[member] = cut(tree, [place - first for place in owned])
        return trees


def scored(
    proposals: Sequence[Proposal],
    index: Mapping[str, int],
    grading: Grading,
    merging: Merging,
    contexts: Sequence[Context],
    per_row: float,
) -> Drafts:
    """The proposals with what became of their like; those for the same member become one tree.

    ``per_row`` is the price of a row in tokens.
    """
    trees: dict[int, tuple[DraftTree, list[float]]] = {}
    for name, member, tree in proposals:
        proposer = index[name]
        history = grading.histories[contexts[member]]
        grades, record = grading.grades[proposer], history.records[proposer]
        chances = grades.chances(history, record, tree)
        grades.promise(history, record, chances, per_row)
        other = trees.get(member)
        if other is not None:
            tree = DraftTree(tree.tokens, tree.parents, tuple(chances))
            one = DraftTree(other[0].tokens, other[0].parents, tuple(other[1]))
            tree = merging.merged(one, tree, contexts[member])
            chances = list(tree.survival)
        trees[member] = (tree, chances)
    return Drafts(trees)

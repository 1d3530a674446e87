"""Two proposals for one request as one tree, and what it is worth that they agree. Pure."""

from __future__ import annotations

from typing import NamedTuple, final

from paceline.llm.draft.proposer import Context
from paceline.llm.draft.tree import MAX_NODES, DraftTree
from paceline.llm.policies.selection import likeliest

_ALONE, _AGREED, _DIFFERS = -1, 0, 1
_NUM_BINS = 8
_STRENGTH = 8.0  # imagined hits of a cell
_GRADED = 8  # trees a step, if they are more, in turn
_AGED = 256  # graded nodes after which
_KEEP = 0.8  # of the evidence counts


class _Merged(NamedTuple):
    """A merged tree until the text tells. A share is the chance of a node, given the one above, as for independent
    proposers; a cell is where its correction stands, or -1.
    """

    context: Context
    start: int
    tree: DraftTree
    shares: list[float]
    cells: list[int]


@final
class Merging:
    """Were two proposers independent, one of two that agree would suffice to be right, and of two that differ at most
    one could be. They are not, so what becomes of such nodes corrects both.

    >>> context = Context([1], 1)
    >>> tree = Merging().merged(DraftTree.chain([5, 6], [0.5, 0.4]), DraftTree.chain([5, 7], [0.6, 0.3]), context)
    >>> tree.tokens, tree.parents, [round(share, 2) for share in tree.survival]
    ((5, 6, 7), (-1, 0, 0), [0.8, 0.53, 0.13])
    """

    __slots__ = ("_expected", "_factors", "_hits", "_num_graded", "_num_merged", "_open", "_stride", "_turn")

    def __init__(self) -> None:
        cells = 4 * _NUM_BINS  # by kind, first token or later, share
        self._hits = [0.0] * cells
        self._expected = [0.0] * cells
        self._factors = [1.0] * cells
        self._num_graded = 0
        self._num_merged = 0  # in this step, from the turn on
        self._stride = 1  # of so many trees one is graded
        self._turn = 0
        self._open: list[_Merged] = []

    def merged(self, one: DraftTree, other: DraftTree, context: Context) -> DraftTree:
        """Survivals must be probabilities of what follows the context's tokens."""
        union, shares, kinds = _union(one, other)
        cells = [
            kind
            if kind == _ALONE
            else (2 * kind + (parent >= 0)) * _NUM_BINS + min(int(_NUM_BINS * share), _NUM_BINS - 1)
            for kind, share, parent in zip(kinds, shares, union.parents, strict=True)
        ]
        factors = self._factors
        survival: list[float] = []
        for share, cell, parent in zip(shares, cells, union.parents, strict=True):
            chance = share if cell < 0 else min(1.0, share * factors[cell])
            survival.append(chance * survival[parent] if parent >= 0 else chance)
        tree = DraftTree(union.tokens, union.parents, tuple(survival))
        self._num_merged += 1
        if self._num_merged % self._stride == 0:
            self._open.append(_Merged(context, len(context.tokens), tree, shares, cells))
        return tree if len(tree) <= MAX_NODES else tree.keep(likeliest(survival, MAX_NODES))

    def learn(self) -> None:
        """The step is over: what it emitted stands in the contexts."""
        for entry in self._open:
            self._grade(entry)
        self._open.clear()
        self._stride = 1 + self._num_merged // _GRADED
        self._turn = (self._turn + 1) % self._stride
        self._num_merged = self._turn
        if self._num_graded >= _AGED:
            self._num_graded = 0
            self._hits = [_KEEP * hits for hits in self._hits]
            self._expected = [_KEEP * expected for expected in self._expected]

    def _grade(self, entry: _Merged) -> None:
        tokens, parents = entry.tree.tokens, entry.tree.parents
        above = -1
        for token in entry.context.tokens[entry.start :]:
            right = -1
            for node in range(above + 1, len(tokens)):
                if parents[node] != above:
                    continue
                if tokens[node] == token:
                    right = node
                cell = entry.cells[node]
                if cell >= 0:
                    self._count(cell, entry.shares[node], hit=right == node)
            if right < 0:
                return
            above = right

    def _count(self, cell: int, share: float, *, hit: bool) -> None:
        self._num_graded += 1
        self._hits[cell] += hit
        self._expected[cell] += share
        self._factors[cell] = (self._hits[cell] + _STRENGTH) / (self._expected[cell] + _STRENGTH)


def _union(one: DraftTree, other: DraftTree) -> tuple[DraftTree, list[float], list[int]]:
    """Both trees, common paths once; the shares of independent proposers; who stands alone, agrees or differs."""
    size = len(one)
    tokens, parents = list(one.tokens), list(one.parents)
    shares = _conditional(one)
    kinds = [_ALONE] * size
    place = {-1: -1}
    for node, (token, parent, share) in enumerate(zip(other.tokens, other.parents, _conditional(other), strict=True)):
        above = place[parent]
        rivals = [n for n in range(above + 1, size) if parents[n] == above] if above < size else []
        same = next((n for n in rivals if tokens[n] == token), None)
        if same is not None:
            shares[same] = 1.0 - (1.0 - shares[same]) * (1.0 - share)
            kinds[same] = _AGREED
            place[node] = same
            continue
        for rival in rivals:
            both = 1.0 - shares[rival] * share
            if both > 0.0:
                shares[rival], share = shares[rival] * (1.0 - share) / both, share * (1.0 - shares[rival]) / both
            if kinds[rival] == _ALONE:
                kinds[rival] = _DIFFERS
        place[node] = len(tokens)
        tokens.append(token)
        parents.append(above)
        shares.append(share)
        kinds.append(_DIFFERS if rivals else _ALONE)
    return DraftTree(tuple(tokens), tuple(parents), ()), shares, kinds


def _conditional(tree: DraftTree) -> list[float]:
    survival = tree.survival
    return [
        share if parent < 0 else share / survival[parent] if survival[parent] > 0.0 else 0.0
        for share, parent in zip(survival, tree.parents, strict=True)
    ]

"""How often drafts agree with the text: rates by depth and by a second key, learned from what was emitted. Pure.

Two tables use one idea. *Calibration* knows a proposal: its second key is the bin of the survival that the proposer
itself gives to a node, given the node above. A *forecast* knows only who would be asked: its second key is the form
that the proposer is in for this request. A node is tried only if all nodes above it agreed, so rates are conditional,
and their product along a path is its survival.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import final

from paceline.llm.draft.tree import MAX_NODES, DraftTree

NUM_DEPTHS = 9  # 1 to 8, and deeper
_DEEPEST = NUM_DEPTHS - 1
_EDGES = (0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95)
_CENTRES = (0.02, 0.1, 0.22, 0.4, 0.6, 0.78, 0.9, 0.97)
NUM_BINS = len(_CENTRES)
_BIN = [bisect_right(_EDGES, share / 64) for share in range(65)]  # of a conditional survival, in 64ths
CHAINS = [tuple(range(-1, size - 1)) for size in range(MAX_NODES + 1)]  # the parents of a chain, by its length

NUM_FORMS = 5  # never asked, cold, lukewarm, warm, hot
UNKNOWN_FORM = 0
_FORM_EDGES = (0.2, 1.5, 5.0)  # of the recent run of agreement, tokens
_FORM_GUESSES = (0.5, 0.5, 0.5, 0.6, 0.8)

MEMORY = 0.99  # share of the evidence that a step leaves
LEAST_MEMORY = 200.0  # tries that age alone cannot take away
_STRENGTHS = (8.0, 16.0, 16.0)  # imagined tries: of all depths, of a depth, of a cell


@final
class RateTable:
    """Shares by depth and key. A cell seldom seen leans on its depth, a depth on all depths, they on first guesses.

    >>> table = RateTable([0.2, 0.8])
    >>> for _ in range(100):
    ...     _ = table.observe(0, 1, hit=False)
    >>> table.refresh()
    >>> table.rates[1] < 0.1, table.rates[0] < 0.1     # the other cell of this depth is doubted too
    (True, True)
    """

    __slots__ = ("_guesses", "hits", "num_keys", "rates", "tries")

    def __init__(self, guesses: Sequence[float]) -> None:
        self._guesses = list(guesses)
        self.num_keys = len(guesses)
        size = NUM_DEPTHS * self.num_keys
        self.hits = [0.0] * size  # by depth * num_keys + key
        self.tries = [0.0] * size
        self.rates = self._guesses * NUM_DEPTHS

    def observe(self, depth: int, key: int, *, hit: bool) -> float:
        """One node at ``depth`` (0 is the first) was held against the text; how likely it was to hit."""
        cell = min(depth, _DEEPEST) * self.num_keys + key
        self.tries[cell] += 1.0
        if hit:
            self.hits[cell] += 1.0
        return self.rates[cell]

    def observe_run(self, num_hits: int, key: int, *, miss: bool) -> float:
        """The first ``num_hits`` depths hit; ``miss``: the next one did not. The hits that were to be expected."""
        hits, tries, rates, cell, last = self.hits, self.tries, self.rates, key, _DEEPEST * self.num_keys + key
        expected = 0.0
        for _ in range(num_hits):
            hits[cell] += 1.0
            tries[cell] += 1.0
            expected += rates[cell]
            if cell < last:
                cell += self.num_keys
        if miss:
            tries[cell] += 1.0
            expected += rates[cell]
        return expected

    def refresh(self, num_steps: int = 0, least: float = LEAST_MEMORY) -> None:
        """Computes ``rates`` anew, ``num_steps`` after the last time; ``least`` tries survive."""
        self._age(num_steps, least)
        keys = self.num_keys
        row = self._row(0, self._guesses)
        rates = list(row)
        if any(self.tries[keys:]):
            # the first token of an n-gram is a matter of luck, those after it of having found the right place
            row = _leaning(self._guesses * _DEEPEST, self.hits[keys:], self.tries[keys:], _STRENGTHS[0])[:keys]
        for depth in range(1, NUM_DEPTHS):
            row = self._row(depth, row)
            rates += row
        self.rates = rates

    def _row(self, depth: int, guesses: list[float]) -> list[float]:
        first = depth * self.num_keys
        hits, tries = self.hits[first : first + self.num_keys], self.tries[first : first + self.num_keys]
        if not any(tries):
            return guesses
        strength = _STRENGTHS[2]
        guesses = _leaning(guesses, hits, tries, _STRENGTHS[1])
        return [(h + strength * guess) / (t + strength) for h, t, guess in zip(hits, tries, guesses, strict=True)]

    def _age(self, num_steps: int, least: float) -> None:
        total = sum(self.tries)
        if not num_steps or total <= least:
            return
        keep = max(MEMORY**num_steps, least / total)
        self.hits = [value * keep for value in self.hits]
        self.tries = [value * keep for value in self.tries]

    def survival(self, key: int = 0) -> list[float]:
        """Products of the rates of ``key``, depth by depth."""
        chance = 1.0
        curve = []
        for rate in self.rates[key :: self.num_keys]:
            chance *= rate
            curve.append(chance)
        return curve

    def mean_survival(self) -> list[float]:
        """The same for all keys together, as far down as anything was tried."""
        chance = 1.0
        curve = []
        for first in range(0, len(self.tries), self.num_keys):
            tries = sum(self.tries[first : first + self.num_keys])
            if tries < 1.0:
                break
            chance *= sum(self.hits[first : first + self.num_keys]) / tries
            curve.append(chance)
        return curve


def _leaning(guesses: list[float], hits: list[float], tries: list[float], strength: float) -> list[float]:
    """``guesses`` moved to where the hits of all keys together say they are."""
    total = sum(tries)
    if not total:
        return guesses
    expected = sum([guess * t for guess, t in zip(guesses, tries, strict=True)]) / total
    mean = (sum(hits) + strength * expected) / (total + strength)
    if mean <= expected:
        factor = mean / expected if expected else 1.0
        return [guess * factor for guess in guesses]
    factor = (1.0 - mean) / (1.0 - expected)
    return [1.0 - (1.0 - guess) * factor for guess in guesses]


@lru_cache(maxsize=512)
def _cells(raw: tuple[float, ...]) -> tuple[int, ...]:
    """Where the nodes of a chain with survivals ``raw`` stand in a calibration: asked when it is made and when graded."""
    cells, above, first = [], 1.0, 0
    for share in raw:
        cells.append(first + (_BIN[int(64.0 * share / above)] if above > 0.0 else 0))
        above = share
        if first < _DEEPEST * NUM_BINS:
            first += NUM_BINS
    return tuple(cells)


def observe_chain(table: RateTable, raw: tuple[float, ...], num_hits: int, *, miss: bool) -> float:
    """Calibration by a chain with survivals ``raw`` of which the first ``num_hits`` nodes were right; the hits that
    were to be expected.
    """
    hits, tries, rates, cells = table.hits, table.tries, table.rates, _cells(raw)
    expected = 0.0
    for cell in cells[:num_hits]:
        hits[cell] += 1.0
        tries[cell] += 1.0
        expected += rates[cell]
    if miss:
        cell = cells[num_hits]
        tries[cell] += 1.0
        expected += rates[cell]
    return expected


@final
class OddsRatio:
    """By how much the odds of one kind of nodes are better than those of all.

    >>> ratio = OddsRatio(strength=1.0)
    >>> ratio.observe(hits=199.0, expected=99.0, tries=298.0)
    >>> ratio.value
    4.0
    """

    __slots__ = ("_expected", "_hits", "_strength", "_tries", "value")

    def __init__(self, strength: float) -> None:
        self._strength = strength  # imagined hits, and as many misses
        self._hits = self._expected = self._tries = 0.0
        self.value = 1.0

    def observe(self, hits: float, expected: float, tries: float) -> None:
        self._hits += hits
        self._expected += expected
        self._tries += tries
        strength, misses = self._strength, self._tries + self._strength
        self.value = (
            (self._hits + strength) * (misses - self._expected) / ((self._expected + strength) * (misses - self._hits))
        )

    def age(self, keep: float) -> None:
        """``keep`` of the evidence still counts."""
        self._hits *= keep
        self._expected *= keep
        self._tries *= keep

    def applied(self, expected: float, tries: float) -> float:
        """Hits to expect of ``tries`` when ``expected`` is what all nodes would give."""
        better = expected * self.value
        return tries * better / (tries - expected + better) if better > 0.0 else 0.0


def calibration() -> RateTable:
    return RateTable(_CENTRES)


def forecast() -> RateTable:
    return RateTable(_FORM_GUESSES)


def form_of(run: float) -> int:
    """The form of a proposer that agreed with about ``run`` tokens lately."""
    return 1 + bisect_right(_FORM_EDGES, run)


def bin_of(survival: float, above: float) -> int:
    """The bin of a node with ``survival`` under a node with ``above`` (1 for the sequence itself)."""
    return _BIN[int(64.0 * survival / above)] if above > survival else _BIN[64] if above else 0


def calibrated(tree: DraftTree, rates: Sequence[float], odds: float) -> list[float]:
    """Survival of every node by what became of such nodes, at odds so many times better.

    >>> tree = DraftTree.chain([5, 9], [0.9, 0.45])
    >>> [[round(share, 4) for share in calibrated(tree, calibration().rates, odds)] for odds in (1.0, 2.0)]
    [[0.9, 0.54], [0.9474, 0.7105]]
    """
    raw, size = tree.survival, len(tree.tokens)
    chances: list[float] = []
    if tree.parents == CHAINS[size]:
        chance = 1.0
        for cell in _cells(raw):
            better = rates[cell] * odds
            chance *= better / (1.0 - rates[cell] + better)
            chances.append(chance)
        return chances
    cells: list[int] = []
    for node, parent in enumerate(tree.parents):
        cell, above, chance = 0, 1.0, 1.0
        if parent >= 0:
            cell, above, chance = min(cells[parent] + NUM_BINS, _DEEPEST * NUM_BINS), raw[parent], chances[parent]
        cells.append(cell)
        rate = rates[cell + bin_of(raw[node], above)]
        chances.append(chance * rate * odds / (1.0 - rate + rate * odds))
    return chances

"""Holds proposals, verified or not, against the text that was emitted: full information, for nothing. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple, final

from paceline.llm.draft.proposer import Context
from paceline.llm.draft.tree import DraftTree
from paceline.llm.policies.acceptance import (
    CHAINS,
    LEAST_MEMORY,
    MEMORY,
    NUM_FORMS,
    UNKNOWN_FORM,
    OddsRatio,
    RateTable,
    bin_of,
    calibrated,
    calibration,
    forecast,
    form_of,
    observe_chain,
)

NUM_CLASSES = 3  # of temperature: greedy, moderate, free
_MODERATE = 0.7
_LONGEST_RUN = 32.0  # tokens of agreement that are remembered
_REQUEST_MEMORY = 0.98  # share of a request's own evidence that a proposal leaves
_REQUEST_STRENGTH = 8.0  # imagined hits, and misses
_FORM_STRENGTH = 16.0
_PROMISED = 0.1  # weight of the latest proposal in what is expected of the next
_WATCHED = 0.92  # share of the latest hits that a proposal leaves
_TELLING = 12.0  # hits, seen or expected, from which
_CHANGED = 0.5  # such a share of them tells of other traffic
_FORGETTING = 200  # steps that a change ages all evidence by,
_LEFT = 16.0  # down to so many tries
_MOST_CAUGHT_UP = 16.0  # tries that one catch-up may count for


def temperature_class(temperature: float) -> int:
    """Drafts agree less often with tokens drawn at random.

    >>> [temperature_class(temperature) for temperature in (0.0, 0.7, 1.0)]
    [0, 1, 2]
    """
    return (temperature > 0.0) + (temperature > _MODERATE)


class Pending(NamedTuple):
    """A proposal whose end the text has not reached yet."""

    start: int  # where in the tokens it begins
    tree: DraftTree
    depth: int  # asked for
    form: int  # of the proposer when it was asked
    noted: int = 0  # tokens of it that are known to agree, and count for the form of today


@final
class Record:
    """What is known of one proposer in one request."""

    __slots__ = ("form", "odds", "pending", "run")

    def __init__(self) -> None:
        self.form = UNKNOWN_FORM
        self.run = 0.0  # recent agreement, tokens
        self.odds = OddsRatio(_REQUEST_STRENGTH)  # this request against all
        self.pending: Pending | None = None

    def note(self, agreed: int, *, ended: bool) -> None:
        """``agreed`` tokens were right; ``ended``: the next one was not."""
        self.run = 0.5 * (self.run + agreed) if ended else min(self.run + agreed, _LONGEST_RUN)
        self.form = form_of(self.run)


@final
class History:
    """One request: a record for each proposer, and ``code``, which sums up all their forms and the temperature."""

    __slots__ = ("code", "context", "kind", "records")

    def __init__(self, context: Context, num_proposers: int) -> None:
        self.context = context
        self.kind = temperature_class(context.temperature)
        self.records = [Record() for _ in range(num_proposers)]
        self.code = self.kind

    def recode(self) -> None:
        code = 0
        for record in reversed(self.records):
            code = code * NUM_FORMS + record.form
        self.code = code * NUM_CLASSES + self.kind


def forms_in(code: int, num_proposers: int) -> tuple[int, list[int]]:
    """Temperature class and forms that ``code`` stands for."""
    code, kind = divmod(code, NUM_CLASSES)
    forms = []
    for _ in range(num_proposers):
        code, form = divmod(code, NUM_FORMS)
        forms.append(form)
    return kind, forms


@final
class Grades:
    """What all requests together say of one proposer, by temperature class."""

    __slots__ = ("_expected", "_hits", "calibrations", "forecasts", "has_changed", "num_graded", "odds", "surplus")

    def __init__(self) -> None:
        self.calibrations = [calibration() for _ in range(NUM_CLASSES)]
        self.forecasts = [forecast() for _ in range(NUM_CLASSES)]
        self.odds = [[OddsRatio(_FORM_STRENGTH) for _ in range(NUM_FORMS)] for _ in range(NUM_CLASSES)]
        # tokens beyond the price of their rows that a proposal promised of late, by form: what forecasts cannot tell
        # is that some proposals know that they are good
        self.surplus = [[0.0] * NUM_FORMS for _ in range(NUM_CLASSES)]
        self.num_graded = 0
        self._hits = self._expected = 0.0  # of the latest proposals
        self.has_changed = False  # they went quite another way than was to be expected

    def refresh(self, num_steps: int) -> None:
        """Computes rates anew, ``num_steps`` after the last time; most of what is known is forgotten after a change."""
        least = LEAST_MEMORY
        if self.has_changed:
            num_steps, least = max(num_steps, _FORGETTING), _LEFT
            self.has_changed = False
        for table in (*self.calibrations, *self.forecasts):
            if any(table.tries):
                table.refresh(num_steps, least)
        for ratio in chain.from_iterable(self.odds):
            ratio.age(MEMORY**num_steps)

    def promise(self, history: History, record: Record, chances: Sequence[float], per_row: float) -> None:
        """A proposal with these survivals was made when a row cost ``per_row`` tokens."""
        surplus = self.surplus[history.kind]
        total = 0.0
        for chance in chances:
            if chance > per_row:
                total += chance - per_row
        surplus[record.form] += _PROMISED * (total - surplus[record.form])

    def _watch(self, hits: float, expected: float) -> None:
        self._hits = _WATCHED * self._hits + hits
        self._expected = _WATCHED * self._expected + expected
        more, less = max(self._hits, self._expected), min(self._hits, self._expected)
        if more > _TELLING and less < _CHANGED * more:
            self.has_changed = True
            self._hits = self._expected = 0.0

    def chances(self, history: History, record: Record, tree: DraftTree) -> list[float]:
        """Survival of the nodes of a proposal, by what became of such nodes, of such requests, and of this one."""
        odds = record.odds.value * self.odds[history.kind][record.form].value
        return calibrated(tree, self.calibrations[history.kind].rates, odds)

    def survival(self) -> list[float]:
        """Share of first, second, … tokens accepted, whatever the temperature: of the class with most evidence."""
        return max(self.forecasts, key=lambda table: sum(table.tries)).mean_survival()

    def grade(self, history: History, record: Record, proposal: Pending, *, last: bool) -> bool:
        """Learns from ``proposal`` if the text tells its end, or if this is the last look at it; whether it did."""
        tokens = history.context.tokens
        known = len(tokens) - proposal.start
        if known <= 0:
            return last
        tree = proposal.tree
        straight = tree.parents == CHAINS[len(tree.tokens)]
        path, tried = (_walk_chain if straight else _walk_tree)(tree, proposal.start, tokens)
        agreed, missed = len(path), len(tried) > 0
        leaf = not missed and agreed < known  # all the way down, and the text goes on
        if not (missed or leaf or last or agreed == len(tree.tokens)):
            return False
        calibration, tries = self.calibrations[history.kind], float(agreed + missed)
        if straight:
            expected = observe_chain(calibration, tree.survival, agreed, miss=missed)
        else:
            expected = _count_nodes(calibration, tree, path, tried)
        ratio = self.odds[history.kind][proposal.form]
        record.odds.age(_REQUEST_MEMORY)
        record.odds.observe(float(agreed), ratio.applied(expected, tries), tries)
        ratio.observe(float(agreed), expected, tries)
        ended = missed or (leaf and agreed < proposal.depth)  # a leaf: it had no more to offer
        self._watch(agreed, self.forecasts[history.kind].observe_run(agreed, proposal.form, miss=ended))
        self.num_graded += 1
        record.note(agreed - proposal.noted, ended=missed)
        return True

    def miss(self, history: History, record: Record) -> None:
        """It was asked and had nothing to offer."""
        self.surplus[history.kind][record.form] *= 1.0 - _PROMISED
        self._watch(0, self.forecasts[history.kind].observe_run(0, record.form, miss=True))
        self.num_graded += 1
        record.note(0, ended=True)

    def catch_up(self, record: Record, kind: int, hits: int, tries: int) -> None:
        """``hits`` of ``tries`` tokens were what it would have proposed first."""
        weight = min(1.0, _MOST_CAUGHT_UP / tries)
        table = self.forecasts[kind]
        table.tries[record.form] += weight * tries
        table.hits[record.form] += weight * hits
        self.num_graded += 1


def _walk_chain(tree: DraftTree, start: int, tokens: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """Nodes that agree with the text from ``start`` on, and those beside them that the text refuted."""
    drafts = tree.tokens
    most = min(len(drafts), len(tokens) - start)
    agreed = 0
    while agreed < most and drafts[agreed] == tokens[start + agreed]:
        agreed += 1
    return range(agreed), (agreed,) if agreed < most else ()


def _walk_tree(tree: DraftTree, start: int, tokens: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """The same; brothers of a node that agreed do not count as refuted."""
    path: list[int] = []
    above = -1
    for place in range(start, len(tokens)):
        children = [node for node in range(above + 1, len(tree.tokens)) if tree.parents[node] == above]
        right = [node for node in children if tree.tokens[node] == tokens[place]]
        if not right:
            return path, children
        above = right[0]
        path.append(above)
    return path, ()


def _count_nodes(table: RateTable, tree: DraftTree, path: Sequence[int], refuted: Sequence[int]) -> float:
    above, chance, expected = -1, 1.0, 0.0
    for depth, right in enumerate((*path, -1)):
        total = 0.0
        for node, parent in enumerate(tree.parents):
            if parent == above and (right >= 0 or node in refuted):
                total += table.observe(depth, bin_of(tree.survival[node], chance), hit=node == right)
        expected += min(1.0, total)
        above, chance = right, tree.survival[right]
    return expected

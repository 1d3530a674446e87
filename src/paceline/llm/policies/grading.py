"""All requests' histories, and all proposals that wait for the text to tell their worth. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from paceline.llm.draft.proposer import Context
from paceline.llm.policies.evidence import Grades, History, Pending, Record
from paceline.llm.speculation import Ask, StepResult, StepView

_REFRESH_TURNS = (4, 16)  # rates are computed anew after so many turns if enough was graded, or in any case
_REFRESH_GRADES = 32
_EARLY = 64  # grades, at first and after a change, for which every occasion is taken
_SETTLED = 4  # steps between looks at proposals that wait
_FEWEST_GRADES = 4  # proposals of a step that are graded node by node, in turn; of others only the end counts
_GRADE_SHARE = 0.01  # of the step that grading may take if they are more
_GRADE_S = 10e-6  # of one proposal


@final
class Grading:
    """One ``Grades`` for each proposer, one ``History`` for each sequence."""

    __slots__ = ("_calm", "_ended", "_index", "_num_graded", "_open", "_refreshed", "_turn", "grades", "histories")

    def __init__(self, proposers: Sequence[str]) -> None:
        self._index = {name: place for place, name in enumerate(proposers)}
        self.grades = [Grades() for _ in proposers]
        self.histories: dict[Context, History] = {}
        self._ended: dict[Context, History] = {}  # in the step of which the results are still to come
        self._open: list[tuple[Grades, History, Record]] = []
        self._refreshed = 0  # the step at which it was done last
        self._num_graded = 0  # until then
        self._calm = _EARLY  # grades from which on there is time
        self._turn = 0  # the proposal that is graded first

    def begin(self, context: Context) -> History:
        history = self.histories[context] = History(context, len(self.grades))
        return history

    def finish(self, context: Context) -> None:
        history = self.histories.pop(context, None)
        if history is None:
            return
        self._ended[context] = history
        for grades, record in zip(self.grades, history.records, strict=True):
            _close(grades, history, record)

    def refresh(self, at: int, turn: int) -> bool:
        """Computes rates anew if step number ``at`` is a good moment; whether it did. A turn is so many steps: more
        where steps are short beside what this takes.
        """
        num_graded = sum([grades.num_graded for grades in self.grades])
        if any([grades.has_changed for grades in self.grades]):
            self._calm = num_graded + _EARLY
        passed = at - self._refreshed
        enough = num_graded - self._num_graded >= _REFRESH_GRADES
        if num_graded == self._num_graded or (num_graded > self._calm and passed < _REFRESH_TURNS[not enough] * turn):
            return False
        for grades in self.grades:
            grades.refresh(passed)
        self._refreshed, self._num_graded = at, num_graded
        return True

    def settle(self, at: int, *, rested: bool) -> None:
        """Grades what is open by the text there is now: at once if there is little or the text has grown much."""
        if self._open and (rested or at % _SETTLED == 0 or len(self._open) < _SETTLED):
            for grades, history, record in self._open:
                _close(grades, history, record)
            self._open.clear()

    def take(self, step: StepView, result: StepResult, asks: Sequence[Ask]) -> None:
        """What the proposers said in this step, and what came out."""
        depths = {ask.proposer: ask.depth for ask in asks}
        count = len(result.proposals)
        full = max(_FEWEST_GRADES, int(_GRADE_SHARE * result.seconds / _GRADE_S))
        for place, (name, member, tree) in enumerate(result.proposals):
            proposer = self._index[name]
            grades = self.grades[proposer]
            context = step.contexts[member]
            history = self._history(context)
            record = history.records[proposer]
            form = record.form
            _close(grades, history, record)
            emitted = result.num_emitted[member]
            if count > full and (place - self._turn) % count >= full and member in result.verified:
                record.note(emitted - 1, ended=emitted <= len(result.verified[member]))
            else:
                depth = min(depths.get(name, 0), step.limits[member])
                proposal = Pending(len(context.tokens) - emitted, tree, depth, form)
                if not grades.grade(history, record, proposal, last=False):
                    record.note(emitted, ended=False)
                    record.pending = proposal._replace(noted=emitted)
                    self._open.append((grades, history, record))
            if record.form != form:
                history.recode()
        self._turn = (self._turn + full) % max(count, 1)
        for name, member, hits, tries in result.evidence:
            proposer = self._index[name]
            history = self._history(step.contexts[member])
            self.grades[proposer].catch_up(history.records[proposer], history.kind, hits, tries)
        if count < sum([len(ask.members) for ask in asks]):
            self._note_silence(step, result, asks)
        self._ended.clear()

    def _history(self, context: Context) -> History:
        return self.histories.get(context) or self._ended[context]

    def _note_silence(self, step: StepView, result: StepResult, asks: Sequence[Ask]) -> None:
        """Those who were asked and had nothing to say."""
        spoke = {(name, member) for name, member, _ in result.proposals}
        for name, members, depth in asks:
            proposer = self._index[name]
            for member in members:
                if depth and (name, member) not in spoke:
                    history = self._history(step.contexts[member])
                    self.grades[proposer].miss(history, history.records[proposer])
                    history.recode()


def _close(grades: Grades, history: History, record: Record) -> None:
    proposal = record.pending
    if proposal is not None:
        record.pending = None
        grades.grade(history, record, proposal, last=True)
        history.recode()

"""What stands in for texts, proposers and their time in a simulation; acceptance comes from recorded traces.

The token at output position ``p`` of every request is ``p``. A proposer that knows from a trace that
``n`` of its tokens would be right proposes these and then wrong ones, so that drafts are accepted as
live: by comparison with the text. The last token of a prompt says which trace the request follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import final

from paceline.clock import VirtualClock, to_microseconds
from paceline.llm.draft.proposer import Context
from paceline.llm.draft.tree import DraftTree
from paceline.llm.load import StepLoad
from paceline.llm.request import Request, SamplingParams
from paceline.llm.simulate.published import ServedModel
from paceline.llm.simulate.traces import AcceptanceTrace

_WRONG = 1 << 24  # beyond every output position and every number of a trace
VOCAB_SIZE = 2 * _WRONG


@final
class SpendingClock:
    """Virtual time, and on top the seconds that proposers have spent since the step began."""

    def __init__(self, virtual: VirtualClock) -> None:
        self._virtual = virtual
        self.spent_s = 0.0

    def now(self) -> int:
        return self._virtual.now() + to_microseconds(self.spent_s)

    def spend(self, seconds: float) -> None:
        self.spent_s += seconds

    def begin_step(self) -> None:
        self.spent_s = 0.0


def request(index: int, trace: AcceptanceTrace, *, name: str) -> Request:
    """A request that follows trace number ``index``; its prompt shares all but the last token with every other."""
    return Request(
        request_id=name,
        prompt=(0,) * (trace.num_prompt - 1) + (index,),
        params=_params(trace.num_output),
    )


@cache
def _params(max_tokens: int) -> SamplingParams:
    return SamplingParams(temperature=0.0, max_tokens=max_tokens)


def text(start: int, count: int) -> tuple[int, ...]:
    """The true tokens from output position ``start``."""
    return tuple(range(start, start + count))


def chain(start: int, num_right: int, survival: tuple[float, ...]) -> DraftTree:
    """A draft for output position ``start`` whose first ``num_right`` tokens are true.

    >>> chain(5, 1, (0.5, 0.3)).path(text(5, 2))
    [0]
    """
    depth = len(survival)
    num_right = min(num_right, depth)
    tokens = (*range(start, start + num_right), *range(_WRONG + start + num_right, _WRONG + start + depth))
    return DraftTree(tokens, _parents(depth), survival)


@cache
def _parents(depth: int) -> tuple[int, ...]:
    return tuple(range(-1, depth - 1))


@final
@dataclass(frozen=True, slots=True)
class Foresight:
    """What only a simulation knows: how every draft would fare, and what all of it takes."""

    traces: Sequence[AcceptanceTrace]
    served: ServedModel

    def num_right(self, proposer: str, context: Context) -> int:
        """Tokens of a draft made now that would be accepted."""
        trace = self.traces[context.tokens[context.num_prompt - 1]]
        return trace.values[proposer][len(context.tokens) - context.num_prompt] - 1


class _Drafting:
    """What both proposers have in common: where a sequence stands in its trace, and what asking costs."""

    def __init__(self, name: str, traces: Sequence[AcceptanceTrace], served: ServedModel, clock: SpendingClock) -> None:
        self.name = name
        self._values = [trace.values[name] for trace in traces]
        self._served = served
        self._clock = clock

    def spend(self, contexts: Sequence[Context], depth: int) -> None:
        num_context = sum([len(context.tokens) for context in contexts])
        load = StepLoad(len(contexts), num_context, len(contexts))
        self._clock.spend(self._served.draft_s(self.name, load, depth))

    def values(self, context: Context) -> bytes:
        return self._values[context.tokens[context.num_prompt - 1]]


@final
class SimulatedHeads:
    """A draft head: always has an idea, and no idea how good it is. Its cost is that of the published drafter."""

    def __init__(self, traces: Sequence[AcceptanceTrace], served: ServedModel, clock: SpendingClock) -> None:
        self._drafting = _Drafting("heads", traces, served, clock)
        self._taken_in: dict[Context, int] = {}  # tokens

    def propose(self, contexts: Sequence[Context], depth: int) -> list[DraftTree]:
        self._drafting.spend(contexts, depth)
        survival = _heads_survival(depth)
        trees = []
        for context in contexts:
            position = len(context.tokens) - context.num_prompt
            self._taken_in[context] = len(context.tokens)
            trees.append(chain(position, self._drafting.values(context)[position] - 1, survival))
        return trees

    def catch_up(self, contexts: Sequence[Context]) -> list[tuple[int, int]]:
        """Takes in, in one pass, what it missed; graded by its first guess at each of these positions."""
        self._drafting.spend(contexts, 1)
        grades = []
        for context in contexts:
            known = self._taken_in.get(context, context.num_prompt + 1)
            missed = self._drafting.values(context)[
                known - context.num_prompt : len(context.tokens) - context.num_prompt
            ]
            grades.append((sum([value > 1 for value in missed]), len(missed)))
            self._taken_in[context] = len(context.tokens)
        return grades

    def num_missed(self, context: Context) -> int:
        """Tokens since it was last asked; it takes them in with its next pass, which costs no more for them."""
        return len(context.tokens) - self._taken_in.get(context, len(context.tokens))

    def finish(self, context: Context) -> None:
        self._taken_in.pop(context, None)

    def close(self) -> None:
        self._taken_in.clear()


@cache
def _heads_survival(depth: int) -> tuple[float, ...]:
    return tuple(0.65**place for place in range(1, depth + 1))


@final
class SimulatedLookup:
    """Prompt lookup: as sure as its last guesses were right.

    A recorded 1 may mean a wrong match or none, and a live lookup would know which. This one does not,
    so it always proposes: with little hope unless the tokens before were those it would have guessed.
    """

    def __init__(self, traces: Sequence[AcceptanceTrace], served: ServedModel, clock: SpendingClock) -> None:
        self._drafting = _Drafting("lookup", traces, served, clock)

    def propose(self, contexts: Sequence[Context], depth: int) -> list[DraftTree]:
        self._drafting.spend(contexts, depth)
        trees = []
        for context in contexts:
            position = len(context.tokens) - context.num_prompt
            values = self._drafting.values(context)
            trees.append(chain(position, values[position] - 1, _lookup_survival(_streak(values, position), depth)))
        return trees

    def catch_up(self, contexts: Sequence[Context]) -> list[tuple[int, int]]:
        return [(0, 0)] * len(contexts)

    def num_missed(self, context: Context) -> int:
        return 0

    def finish(self, context: Context) -> None:
        pass

    def close(self) -> None:
        pass


_LONGEST_STREAK = 16


def _streak(values: bytes, position: int) -> int:
    """How many tokens just before ``position`` would have been guessed: a stand-in for the length of the match.

    >>> _streak(bytes([1, 3, 2, 1]), 3)
    2
    """
    start = max(0, position - _LONGEST_STREAK)
    before = values[start:position]
    return len(before) - 1 - before.rfind(1)


@cache
def _lookup_survival(streak: int, depth: int) -> tuple[float, ...]:
    first = (streak + 0.1) / (streak + 1.5)
    further = (streak + 2.0) / (streak + 3.0)
    return tuple(first * further**place for place in range(depth))

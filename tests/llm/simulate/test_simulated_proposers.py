"""Simulated proposers: accepted as recorded, priced as published, and ignorant of what comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.clock import VirtualClock
from paceline.llm.draft.proposer import Context, Proposer
from paceline.llm.draft.tree import defect
from paceline.llm.load import StepLoad
from paceline.llm.simulate.proposers import (
    VOCAB_SIZE,
    Foresight,
    SimulatedHeads,
    SimulatedLookup,
    SpendingClock,
    request,
    text,
)
from paceline.llm.simulate.published import served_model
from paceline.llm.simulate.traces import AcceptanceTrace

SERVED = served_model("llama-3.1-8b", "H100")
VALUES = st.lists(st.integers(1, 21), min_size=2, max_size=40).map(bytes)


def trace(heads: bytes, lookup: bytes) -> AcceptanceTrace:
    return AcceptanceTrace("", 5, len(heads), {"heads": heads, "lookup": lookup})


def context(position: int, index: int = 0) -> Context:
    prompt = request(index, trace(bytes(9), bytes(9)), name="r").prompt
    return Context([*prompt, *text(0, position)], len(prompt))


@given(VALUES, st.integers(1, 20), st.data())
def test_as_many_tokens_are_right_as_recorded(values: bytes, depth: int, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(values) - 1))
    clock = SpendingClock(VirtualClock())
    traces = [trace(values, values)]
    at = context(position)
    for proposer in (SimulatedHeads(traces, SERVED, clock), SimulatedLookup(traces, SERVED, clock)):
        [tree] = proposer.propose([at], depth)
        assert defect(tree, VOCAB_SIZE, depth) is None
        assert len(tree) == depth
        assert len(tree.path(text(position, 64))) == min(values[position] - 1, depth)
    assert Foresight(traces, SERVED).num_right("heads", at) == values[position] - 1


@given(VALUES, VALUES, st.integers(1, 8), st.data())
def test_confidence_knows_only_what_was_emitted(past: bytes, future: bytes, depth: int, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(past) - 1))
    other = past[:position] + future
    clock = SpendingClock(VirtualClock())
    for kind in (SimulatedHeads, SimulatedLookup):
        [tree] = kind([trace(past, past)], SERVED, clock).propose([context(position)], depth)
        [changed] = kind([trace(other, other)], SERVED, clock).propose([context(position)], depth)
        assert tree.survival == changed.survival


def test_lookup_is_surer_the_longer_it_was_right() -> None:
    lookup = SimulatedLookup(
        [trace(bytes(10), bytes([1, 9, 8, 7, 6, 5, 4, 3, 2, 1]))], SERVED, SpendingClock(VirtualClock())
    )
    chances = [lookup.propose([context(position)], 1)[0].survival[0] for position in range(1, 10)]
    assert chances == sorted(chances)
    assert chances[0] < 0.1 < 0.8 < chances[-1]


def test_drafting_takes_the_published_time() -> None:
    virtual = VirtualClock(1000)
    clock = SpendingClock(virtual)
    traces = [trace(bytes([2] * 9), bytes([2] * 9))] * 2
    contexts = [context(1, 0), context(3, 1)]
    proposer: Proposer = SimulatedHeads(traces, SERVED, clock)
    proposer.propose(contexts, 5)
    spent_s = SERVED.draft_s("heads", StepLoad(2, 14, 2), 5)
    assert clock.spent_s == pytest.approx(spent_s)
    assert clock.now() == 1000 + round(1e6 * spent_s)
    clock.begin_step()
    assert clock.now() == 1000


def test_heads_grade_themselves_on_what_they_missed() -> None:
    heads = SimulatedHeads([trace(bytes([1, 2, 1, 3, 1]), bytes(5))], SERVED, SpendingClock(VirtualClock()))
    at = context(1)
    heads.propose([at], 2)
    assert heads.num_missed(at) == 0
    at.tokens.extend(text(1, 3))
    assert heads.num_missed(at) == 3
    assert heads.catch_up([at]) == [(2, 3)]
    assert heads.num_missed(at) == 0
    heads.finish(at)
    heads.close()


def test_lookup_keeps_nothing() -> None:
    lookup = SimulatedLookup([trace(bytes(5), bytes([1] * 5))], SERVED, SpendingClock(VirtualClock()))
    at = context(1)
    assert lookup.catch_up([at]) == [(0, 0)]
    assert lookup.num_missed(at) == 0
    lookup.finish(at)
    lookup.close()

"""Decisions in words."""

from __future__ import annotations

from paceline.llm.policies.journal import Entry, Journal
from paceline.llm.speculation import Ask


def test_says_who_was_asked_and_what_became_of_it() -> None:
    journal = Journal()
    journal.add(Entry(1, "too little to gain", 0.013, (), 0.01, 0.01, 4, 0))
    journal.add(Entry(2, "too little to gain", 0.0, [Ask("model", (1,), 0)], 0.01, 0.01, 4, 0))
    journal.add(Entry(3, "pays", 0.5, [Ask("lookup", (0, 1), 4), Ask("heads", (1,), 2)], 0.01, 0.01, 4, 9))
    assert [(each.option, each.reason) for each in journal.reasons()] == [
        ("plain", "too little to gain: +1.3 % predicted"),
        ("model catches up for 1 of 4, plain", "too little to gain: +0.0 % predicted"),
        ("lookup 4 for 2 of 4 + heads 2 for 1 of 4: 9 nodes", "pays: +50.0 % predicted"),
    ]


def test_keeps_the_last_64() -> None:
    journal = Journal()
    for at in range(100):
        journal.add(Entry(at, "pays", 0.0, (), 0.0, 0.0, 1, 0))
    assert [each.at for each in journal.reasons()] == list(range(36, 100))

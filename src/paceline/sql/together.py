"""Several questions about the same rows, asked row by row where the row in front saves tokens.

One question after the other shares each question and prefills the rows again for every question; with the row in
front it is prefilled once, and each question for every row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from paceline.sql.ask import Requests
from paceline.sql.asker import Asker
from paceline.sql.items import Order
from paceline.sql.model import Answer, Ask


def answer_together(several: Sequence[Requests], asker: Asker) -> None:
    """Answers all; ``several`` have the same fields and rows."""
    if not (asker.may_put_data_first and _saves_tokens(several)):
        for one in several:
            one.answer()
        return
    for one in several:
        one.data_first = True
    found = [one.missing() for one in several]
    todo = np.array(sorted(frozenset().union(*(requests.tolist() for requests, _ in found))), np.int64)
    if not len(todo):
        return
    first = several[0]
    plan = first.plan(todo)
    first.report.plan(first.items_of(todo), plan, first.static_tokens, first.call.max_tokens, detail=asker.is_detailed)
    for one, (requests, _) in zip(several[1:], found[1:], strict=True):
        one.report.plan_repeated(len(requests), one.static_tokens, plan.total, one.call.max_tokens)
    if not asker.is_dry:
        _send(
            several,
            [frozenset(requests.tolist()) for requests, _ in found],
            [keys for _, keys in found],
            todo,
            plan,
            asker,
        )


def _saves_tokens(several: Sequence[Requests]) -> bool:
    first = several[0]
    plan = first.plan(np.arange(first.num_requests))
    questions = first.num_requests * sum(one.static_tokens for one in several)
    return (len(several) - 1) * (plan.total - plan.hits) > questions


def _send(
    several: Sequence[Requests],
    missing: Sequence[frozenset[int]],
    keys: Sequence[dict[int, str]],
    todo: np.ndarray,
    plan: Order,
    asker: Asker,
) -> None:
    sequence = todo[plan.rows].tolist()
    places = [(request, number) for request in sequence for number in range(len(several)) if request in missing[number]]

    def asks() -> Iterator[Ask]:
        for request, (row, shared) in zip(sequence, several[0].shown(sequence, plan), strict=True):
            for number in [number for number in range(len(several)) if request in missing[number]]:
                yield several[number].request(row, shared)
                shared = len(row) + 1

    def done(number: int, answer: Answer) -> None:
        request, which = places[number]
        several[which].take(request, answer)

    with several[0].report.timed():
        asker.send(several[0].model, asks(), [keys[which][request] for request, which in places], done)

"""LIMIT: calls of the SELECT list are made for the rows that are shown, and filters stop once enough rows pass."""

from __future__ import annotations

from dataclasses import replace

from paceline.sql.plan import Ask, AskFilter, Limit, Node, Sort, asked_of, columns_of, transform
from paceline.sql.rules.rule import Counts


def stop_early(node: Node, counts: Counts) -> Node:
    return transform(node, lambda one: _stopped(one) if isinstance(one, Limit) else one)


def _stopped(limit: Limit) -> Node:
    sort = limit.input if isinstance(limit.input, Sort) else None
    below = sort.input if sort is not None else limit.input
    asks: list[Ask] = []
    while isinstance(below, Ask):
        asks.append(below)
        below = below.input
    needed = frozenset().union(*map(columns_of, sort.keys)) if sort is not None else frozenset()
    later: list[Ask] = []
    for ask in asks:  # from the top: what a needed call reads is needed too
        if needed.isdisjoint(asked.column for asked in ask.asked):
            later.append(ask)
        else:
            needed |= frozenset().union(*(asked.reads for asked in ask.asked))
    sooner = [ask for ask in asks if ask not in later]
    if isinstance(below, AskFilter) and not sooner and limit.count is not None:
        below = _wanting(below, limit.count + limit.offset, sort)
    for ask in reversed(sooner):
        below = replace(ask, input=below)
    node: Node = replace(limit, input=replace(sort, input=below) if sort is not None else below)
    for ask in reversed(later):
        node = replace(ask, input=node)
    return replace(sort, input=node) if sort is not None and later else node


def _wanting(node: AskFilter, wanted: int, sort: Sort | None) -> AskFilter:
    """``node`` with a number of rows that are enough; not if they are sorted by what it asks."""
    if sort is None:
        return replace(node, wanted=wanted)
    answers = {asked.column for asked in asked_of(node)}
    if any(columns_of(key) & answers for key in sort.keys):
        return node
    return replace(node, wanted=wanted, order=sort.keys)

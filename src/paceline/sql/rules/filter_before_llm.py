"""Conditions without calls are moved below the calls: rows that they remove are not asked about."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from paceline.sql.plan import (
    Ask,
    AskFilter,
    Filter,
    Join,
    Node,
    Predicate,
    asked_of,
    columns_of,
    has_asks,
    transform,
    with_inputs,
)
from paceline.sql.rules.rule import Counts


def filter_before_llm(node: Node, counts: Counts) -> Node:
    return transform(node, lambda one: _sunk(one.input, one.condition) if isinstance(one, Filter) else one)


def _sunk(node: Node, condition: exp.Expr) -> Node:
    """``Filter(node, condition)``, as far down as calls are below."""
    reads = columns_of(condition)
    match node:
        case Ask(input=below) | AskFilter(input=below, wanted=None):
            if reads.isdisjoint(asked.column for asked in asked_of(node)):
                return with_inputs(node, (_sunk(below, condition),))
            if isinstance(node, Ask):  # the condition is about its answers: rows and answers in one go
                return AskFilter(below, (Predicate(node.asked, condition),))
        case Filter(input=below) if has_asks(below):
            return replace(node, input=_sunk(below, condition))
        case Join(left=left, right=right, kind=kind):
            if reads <= set(left.columns) and has_asks(left) and kind in ("INNER", "CROSS", "LEFT", "SEMI", "ANTI"):
                return replace(node, left=_sunk(left, condition))
            if reads <= set(right.columns) and has_asks(right) and kind in ("INNER", "CROSS", "RIGHT"):
                return replace(node, right=_sunk(right, condition))
    return Filter(node, condition)

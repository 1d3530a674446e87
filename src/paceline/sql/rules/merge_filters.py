"""Neighbouring filters with calls become one, so that the cheapest way to remove rows can go first."""

from __future__ import annotations

from dataclasses import replace

from paceline.sql.plan import AskFilter, Node, transform
from paceline.sql.rules.rule import Counts


def merge_filters(node: Node, counts: Counts) -> Node:
    return transform(node, _merged)


def _merged(node: Node) -> Node:
    match node:
        case AskFilter(input=AskFilter(wanted=None) as below, wanted=None, predicates=predicates):
            if all(one.reads <= set(below.input.columns) for one in predicates):
                return replace(node, input=below.input, predicates=(*below.predicates, *predicates))
    return node

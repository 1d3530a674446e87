"""Calls about the same fields of a row are asked together, so that the row can be in the cache for the second."""

from __future__ import annotations

from dataclasses import replace

from paceline.sql.plan import Ask, Asked, Node, transform
from paceline.sql.rules.rule import Counts


def back_to_back(node: Node, counts: Counts) -> Node:
    return transform(node, _together)


def _together(node: Node) -> Node:
    match node:
        case Ask(input=Ask() as below, asked=asked):
            if all(_same_rows(below.asked[0], one) for one in asked):
                return replace(node, input=below.input, asked=(*below.asked, *asked))
    return node


def _same_rows(one: Asked, other: Asked) -> bool:
    same = ("fields", "unordered", "pinned")
    mine, its = one.call, other.call
    return (
        all(getattr(mine, name) == getattr(its, name) for name in same)
        and (mine.options.model, mine.options.field_order) == (its.options.model, its.options.field_order)
        and one.guard == other.guard
        and one.column not in other.reads
    )

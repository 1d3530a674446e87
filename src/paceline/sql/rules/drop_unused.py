"""Answers that nothing above reads are not asked for: ``SELECT id FROM (SELECT id, llm('…', text) AS t FROM r)``."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from paceline.sql.plan import Ask, AskFilter, Join, Node, Project, Query, Reduce, Scan, reads_of, with_inputs
from paceline.sql.rules.rule import Counts


def drop_unused(node: Node, counts: Counts) -> Node:
    return _pruned(node, frozenset(node.columns))


def _pruned(node: Node, needed: Set[str]) -> Node:
    match node:
        case Scan():
            return node
        case Join():
            below = needed | reads_of(node)
            return with_inputs(node, (_pruned(node.left, below), _pruned(node.right, below)))
        case Project(outputs=outputs):
            kept = tuple(one for one in outputs if one[0] in needed) or outputs[:1]
            node = replace(node, outputs=kept)
            return replace(node, input=_pruned(node.input, reads_of(node)))
        case Query():
            return replace(node, input=_pruned(node.input, reads_of(node)))
        case Ask(asked=asked, input=below):
            kept_asked = tuple(one for one in asked if one.column in needed)
            if not kept_asked:
                return _pruned(below, needed)
            node = replace(node, asked=kept_asked)
        case Reduce(asked=one, input=below) if one.column not in needed:
            return _pruned(below, needed)
        case AskFilter():
            pass
    return with_inputs(node, (_pruned(node.input, needed | reads_of(node)),))

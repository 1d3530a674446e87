"""A call that is written twice over the same rows is asked once: its column is used again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sqlglot import exp

from paceline.sql.call import Call
from paceline.sql.plan import (
    Ask,
    Asked,
    AskFilter,
    Filter,
    Node,
    Predicate,
    Project,
    Query,
    Scan,
    column,
    inputs,
    map_expressions,
    substitute,
    with_inputs,
)
from paceline.sql.rules.rule import Counts


def merge_calls(node: Node, counts: Counts) -> Node:
    return _Merge().node(node)


class _Merge:
    """Walks up the tree: the answers that are there, and under which column another one is now found."""

    def __init__(self) -> None:
        self._known: dict[Call, str] = {}
        self._renamed: dict[str, exp.Expr] = {}

    def node(self, node: Node) -> Node:
        if isinstance(node, Scan):
            return node
        node = with_inputs(node, tuple(self._inputs(node)))
        node = map_expressions(node, lambda expression: substitute(expression, self._renamed))
        match node:
            case Ask(asked=asked):
                fresh = self._fresh(asked)
                return replace(node, asked=fresh) if fresh else node.input
            case AskFilter(predicates=predicates):
                return self._filter(node, predicates)
            case Project() | Query():  # columns have other names above
                self._known, self._renamed = {}, {}
        return node

    def _inputs(self, node: Node) -> Iterator[Node]:
        """The sides of a join know nothing of each other: their columns may be called alike."""
        together: dict[Call, str] = {}
        for child in inputs(node):
            self._known = {}
            yield self.node(child)
            together |= self._known
        self._known = together

    def _filter(self, node: AskFilter, predicates: Sequence[Predicate]) -> Node:
        changed = []
        for one in predicates:
            fresh = self._fresh(one.asked)
            changed.append(Predicate(fresh, substitute(one.condition, self._renamed)))
        below = node.input
        for one in changed:
            if not one.asked:
                below = Filter(below, one.condition)
        asking = tuple(one for one in changed if one.asked)
        return replace(node, input=below, predicates=asking) if asking else below

    def _fresh(self, asked: Sequence[Asked]) -> tuple[Asked, ...]:
        fresh = []
        for one in asked:
            same = self._known.setdefault(one.call, one.column)
            if same == one.column:
                fresh.append(one)
            else:
                self._renamed[one.column] = column(same)
        return tuple(fresh)

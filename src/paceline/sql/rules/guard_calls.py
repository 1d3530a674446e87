"""A call inside CASE, COALESCE, AND or OR is made only for the rows that reach it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sqlglot import exp

from paceline.sql.lift import is_aggregate
from paceline.sql.plan import (
    ANSWER,
    INPUT,
    Ask,
    Asked,
    AskFilter,
    Node,
    Predicate,
    Reduce,
    columns_of,
    expressions_of,
    inputs,
    with_inputs,
)
from paceline.sql.rules.rule import Counts

Uses = dict[str, list[exp.Expr | None]]
"""For every column with an answer the condition under which each of its uses is reached; None: always."""


def guard_calls(node: Node, counts: Counts) -> Node:
    return _guarded(node, {name: [None] for name in node.columns})


def _guarded(node: Node, above: Uses) -> Node:
    """Walks down: what uses a column is known before the call that makes it."""
    uses: Uses = {name: list(conditions) for name, conditions in above.items()}
    if isinstance(node, AskFilter):
        for key in node.order:
            _add(uses, key)
        columns = frozenset(node.input.columns)
        node = replace(node, predicates=tuple(_guard_predicate(one, uses, columns) for one in node.predicates))
    else:
        for expression in (*expressions_of(node), *(node.asked.expressions if isinstance(node, Reduce) else ())):
            _add(uses, expression)
    if isinstance(node, Ask):
        asked = [_guard(one, uses, frozenset(node.input.columns)) for one in reversed(node.asked)]
        node = replace(node, asked=tuple(reversed(asked)))
    below = inputs(node)
    return with_inputs(
        node, tuple(_guarded(child, {n: c for n, c in uses.items() if n in child.columns}) for child in below)
    )


def _guard_predicate(one: Predicate, uses: Uses, columns: frozenset[str]) -> Predicate:
    """Later calls may be guarded by answers to earlier ones of the same predicate; other predicates may come later."""
    _add(uses, one.condition)
    asked: list[Asked] = []
    for number in reversed(range(len(one.asked))):
        earlier = {before.column for before in one.asked[:number]}
        asked.insert(0, _guard(one.asked[number], uses, columns | earlier))
    return replace(one, asked=tuple(asked))


def _guard(one: Asked, uses: Uses, visible: frozenset[str]) -> Asked:
    """``one`` with the condition under which any of its uses is reached; its fields are used under the same."""
    conditions = uses.get(one.column, [None])
    guard: exp.Expr | None = None
    if conditions and all(condition is not None and columns_of(condition) <= visible for condition in conditions):
        distinct = list(dict.fromkeys(condition for condition in conditions if condition is not None))
        guard = exp.or_(*distinct, copy=True)
    for item in one.call.fields:
        for name in columns_of(item.expression):
            uses.setdefault(name, []).append(guard)
    if guard is not None:
        _add(uses, guard)
    return replace(one, guard=guard)


def _add(uses: Uses, expression: exp.Expr) -> None:
    for used in expression.find_all(exp.Column):
        if used.table == INPUT:
            conditions = list(_reached(used))
            uses.setdefault(used.name, []).append(exp.and_(*conditions, copy=True) if conditions else None)


def _reached(node: exp.Expr) -> Iterator[exp.Expr]:
    """Conditions on the way from the root of the expression to ``node``, those over groups left out."""
    child, parent = node, node.parent
    while parent is not None and not is_aggregate(parent) and not isinstance(parent, exp.Query):
        for condition in _conditions(parent, child):
            if not any(is_aggregate(inner) or isinstance(inner, exp.Query) for inner in condition.walk()):
                yield condition
        child, parent = parent, parent.parent


def _conditions(parent: exp.Expr, child: exp.Expr) -> list[exp.Expr]:
    """What must be so for ``parent`` to need ``child``."""
    match parent:
        case exp.Case():
            branches = parent.args["ifs"]
            before = branches[: branches.index(child)] if child in branches else branches
            if child is parent.this:
                return []
            return [_is_not_true(_test(parent, branch)) for branch in before]
        case exp.If() if child is not parent.this:
            test = _test(parent.parent, parent) if isinstance(parent.parent, exp.Case) else parent.this
            return [test] if child is parent.args.get("true") else [_is_not_true(test)]
        case exp.Coalesce():
            order = [parent.this, *parent.expressions]
            before = order[: next(number for number, one in enumerate(order) if one is child)]
            return [exp.Is(this=exp.paren(one.copy()), expression=exp.null()) for one in before]
        case exp.And():
            return [_is_not_false(one) for one in _others(parent, child)]
        case exp.Or():
            return [_is_not_true(one) for one in _others(parent, child)]
    return []


def _others(parent: exp.Connector, child: exp.Expr) -> list[exp.Expr]:
    """The operand that is looked at first: the left one, or a right one without answers."""
    if child is parent.right:
        return [parent.left]
    free = not any(name.startswith(ANSWER) for name in columns_of(parent.right))
    return [parent.right] if free else []


def _test(case: exp.Expr | None, branch: exp.Expr) -> exp.Expr:
    """The condition of a WHEN, also of ``CASE x WHEN value``."""
    operand = case.args.get("this") if isinstance(case, exp.Case) else None
    return (
        branch.this
        if operand is None
        else exp.EQ(this=exp.paren(operand.copy()), expression=exp.paren(branch.this.copy()))
    )


def _is_not_true(condition: exp.Expr) -> exp.Expr:
    return exp.not_(exp.Is(this=exp.paren(condition.copy()), expression=exp.true()))


def _is_not_false(condition: exp.Expr) -> exp.Expr:
    return exp.not_(exp.Is(this=exp.paren(condition.copy()), expression=exp.false()))

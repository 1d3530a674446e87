"""A call about aggregates or windows, ``llm('…', string_agg(review))``: they are computed below, the call above."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from paceline.errors import PlanError
from paceline.sql.call import KINDS, calls_in, has_calls, key_of

_INNER = "_g"


def is_aggregate(node: exp.Expr) -> bool:
    if isinstance(node, exp.Anonymous):
        return node.name.lower() in KINDS and KINDS[node.name.lower()].is_aggregate
    return isinstance(node, exp.AggFunc | exp.Window)


def is_grouped(select: exp.Select) -> bool:
    """Whether the rows of a SELECT depend on more than one row of its input."""
    clauses = any(select.args.get(name) for name in ("group", "having", "distinct", "qualify"))
    return clauses or any(own(select, is_aggregate))


def own(select: exp.Select, wanted: Callable[[exp.Expr], bool]) -> list[exp.Expr]:
    """Outermost nodes of the SELECT itself, its subqueries left out, that are ``wanted``."""
    found: list[exp.Expr] = []

    def search(node: exp.Expr) -> None:
        if wanted(node):
            found.append(node)
        elif not isinstance(node, exp.Query):
            for child in node.iter_expressions():
                search(child)

    for name in ("expressions", "having", "qualify", "order", "distinct"):
        value = select.args.get(name)
        for child in value if isinstance(value, list) else [value] if value is not None else []:
            search(child)
    return found


def late_calls(select: exp.Select) -> list[exp.Expr]:
    """Calls of which an argument is only known once groups or windows are computed."""

    def is_late(node: exp.Expr) -> bool:
        return (
            isinstance(node, exp.Anonymous)
            and node.name.lower() in KINDS
            and any(is_aggregate(inner) for inner in node.walk() if inner is not node)
        )

    return own(select, is_late)


def lift(select: exp.Select) -> exp.Select:
    """The same SELECT with its groups, aggregates and windows in a subquery below its calls.

    >>> from sqlglot import parse_one
    >>> query = parse_one("SELECT t.kind AS kind, llm('Sum up.', MAX(t.text)) AS s FROM t GROUP BY t.kind")
    >>> print(lift(query).sql())
    SELECT _g.k0 AS kind, LLM('Sum up.', "MAX(text)" := _g.a0) AS s
    FROM (SELECT t.kind AS k0, MAX(t.text) AS a0 FROM t GROUP BY t.kind) AS _g
    """
    outer, inner = select.copy(), select.copy()
    keys = _keys(outer)
    for call in late_calls(outer):
        _name_fields(call)
    names = {key: f"k{number}" for number, key in enumerate(keys)}
    for node in own(outer, is_value(names)):
        names.setdefault(node, f"a{len(names) - len(keys)}")
    inner.set("expressions", [exp.alias_(node.copy(), name) for node, name in names.items()])
    for clause in ("order", "limit", "offset", "distinct", "qualify"):
        inner.set(clause, None)
    conditions = [having.this] if (having := outer.args.get("having")) and has_calls(having) else []
    inner.set("having", None if conditions else outer.args.get("having"))
    if outer.args.get("qualify"):
        conditions.append(outer.args["qualify"].this)
    for clause in ("from_", "joins", "where", "group", "having", "qualify", "windows", "laterals"):
        outer.set(clause, None)
    outer = outer.from_(inner.subquery(_INNER))
    for condition in conditions:
        outer = outer.where(condition)
    return _renamed(outer, names)


def _name_fields(call: exp.Expr) -> None:
    """Gives fields the names that they would have lost with their expressions."""
    for argument in call.expressions:
        if any(is_aggregate(node) for node in argument.walk()) and not isinstance(argument, exp.PropertyEQ | exp.Kwarg):
            name = exp.to_identifier(key_of(argument), quoted=True)
            argument.replace(exp.PropertyEQ(this=name, expression=argument.copy()))


def is_value(keys: dict[exp.Expr, str]) -> Callable[[exp.Expr], bool]:
    """What the subquery computes: keys and aggregates, and plain columns where only windows are in the way."""

    def wanted(node: exp.Expr) -> bool:
        return node in keys or (is_aggregate(node)) or isinstance(node, exp.Column)

    return wanted


def _keys(select: exp.Select) -> list[exp.Expr]:
    group = select.args.get("group")
    if group is None:
        return []
    if any(group.args.get(name) for name in ("grouping_sets", "rollup", "cube")):
        raise PlanError("GROUPING SETS, ROLLUP and CUBE cannot be combined with LLM calls over groups; use a subquery")
    if group.args.get("all"):
        items = [item.unalias() for item in select.expressions]
        return [item for item in items if not any(is_aggregate(node) for node in item.walk())]
    return list(group.expressions)


def group_keys(select: exp.Select) -> tuple[exp.Expr, ...]:
    """What the rows of a SELECT are grouped by."""
    keys = _keys(select)
    for key in keys:
        if any(call.name.lower() == "llm_agg" for call in calls_in(key)):
            raise PlanError("GROUP BY cannot hold llm_agg, which is computed per group")
    return tuple(keys)


def _renamed(outer: exp.Select, names: dict[exp.Expr, str]) -> exp.Select:
    def change(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Subquery):
            return node
        return exp.column(names[node], table=_INNER) if node in names else node

    for name in ("expressions", "where", "order", "distinct"):
        value = outer.args.get(name)
        if isinstance(value, list):
            outer.set(name, [_outermost(item, change) for item in value])
        elif value is not None:
            outer.set(name, _outermost(value, change))
    return outer


def _outermost(node: exp.Expr, change: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
    changed = change(node)
    if changed is not node:
        return changed
    for child in list(node.iter_expressions()):
        replaced = _outermost(child, change)
        if replaced is not child:
            child.replace(replaced)
    return node

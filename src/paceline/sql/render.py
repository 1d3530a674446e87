"""A plan as SQL: what an engine runs between two calls, and the text of a plan for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from sqlglot import exp

from paceline.sql.plan import (
    INPUT,
    ROW,
    Ask,
    Asked,
    AskFilter,
    Filter,
    Join,
    Limit,
    Node,
    Project,
    Query,
    Reduce,
    Scan,
    Sort,
    column,
    inputs,
)

Relations = Callable[[Node], exp.Query]
"""Gives the rows of a node with calls, once they are answered."""


def select(node: Node, relations: Relations) -> exp.Query:
    """The SQL of a node. Nodes with calls become what ``relations`` says; their row ids come along up to a join."""
    match node:
        case Scan(query=query):
            return query.copy()
        case Ask() | AskFilter() | Reduce():
            return relations(node)
        case Join(left=left, right=right, kind=kind, on=on):
            joined = exp.select(*(exp.column(name, quoted=True) for name in node.columns))
            joined = joined.from_(_source(left, relations, "_l"))
            condition = on.transform(_bare) if on is not None else None
            return joined.join(_source(right, relations, "_r"), on=condition, join_type=kind)
        case Filter(input=below, condition=condition):
            return exp.select("*").from_(_source(below, relations)).where(condition.copy())
        case Sort() | Limit():
            return _finished(exp.select("*"), node, relations)
        case Project(input=below, outputs=outputs):
            items = [exp.alias_(expression.copy(), name, quoted=True) for name, expression in outputs]
            return _finished(exp.Select(expressions=items), below, relations)
        case Query(input=below, select=rest):
            return rest.copy().from_(_source(below, relations))


def _source(node: Node, relations: Relations, alias: str = INPUT) -> exp.Subquery:
    return select(node, relations).subquery(alias, copy=False)


def _bare(node: exp.Expr) -> exp.Expr:
    """Columns of a join's two sides have different names, so they need no qualifier."""
    return exp.column(node.name, quoted=True) if isinstance(node, exp.Column) and node.table == INPUT else node


def _finished(outer: exp.Select, node: Node, relations: Relations) -> exp.Query:
    """``outer`` over ``node``, whose LIMIT and ORDER BY, if it has any, belong to the same SELECT."""
    limit, keys = None, None
    if isinstance(node, Limit):
        limit, node = node, node.input
    if isinstance(node, Sort):
        keys, node = node.keys, node.input
    outer = outer.from_(_source(node, relations))
    if keys:
        outer = outer.order_by(*(key.copy() for key in keys))
    elif has_row_ids(node):
        outer = outer.order_by(column(ROW))  # a query without ORDER BY gives the rows as the table has them
    if limit is not None and limit.count is not None:
        outer = outer.limit(limit.count)
    return outer.offset(limit.offset) if limit is not None and limit.offset else outer


def has_row_ids(node: Node) -> bool:
    """Whether the SQL of a node gives ``_row``, and the same rows every time that it runs: LIMIT may not."""
    if isinstance(node, Filter | Sort):
        return has_row_ids(node.input)
    return isinstance(node, Ask | AskFilter | Reduce)


def outline(node: Node, dialect: str, depth: int = 0) -> Iterator[str]:
    """A line per node, the last step first, its inputs indented below it."""

    def sql(expression: exp.Expr) -> str:
        return expression.transform(_bare_column).sql(dialect)

    yield f"{'  ' * depth}{type(node).__name__} {_LINES[type(node)](node, sql)}"
    for child in inputs(node):
        yield from outline(child, dialect, depth + 1)


Text: TypeAlias = Callable[[exp.Expr], str]


def _ask_filter_line(node: AskFilter, sql: Text) -> str:
    conditions = [
        f"{sql(one.condition)} where {', '.join(_asked(asked, sql) for asked in one.asked)}" for one in node.predicates
    ]
    stop = f", stop after {node.wanted} rows" if node.wanted is not None else ""
    return "; ".join(conditions) + stop + _by(node.order, sql)


def _by(keys: Iterable[exp.Expr], sql: Text) -> str:
    listed = ", ".join(map(sql, keys))
    return f" by {listed}" if listed else ""


_LINES: Final[Mapping[type, Callable[[Any, Text], str]]] = {
    Scan: lambda node, sql: sql(node.query),
    Join: lambda node, sql: f"{node.kind}{f' on {sql(node.on)}' if node.on is not None else ''}",
    Filter: lambda node, sql: sql(node.condition),
    Ask: lambda node, sql: "; ".join(_asked(one, sql) for one in node.asked),
    AskFilter: _ask_filter_line,
    Reduce: lambda node, sql: _asked(node.asked, sql) + _by(node.keys, sql),
    Sort: lambda node, sql: ", ".join(map(sql, node.keys)),
    Limit: lambda node, sql: f"{node.count}{f' offset {node.offset}' if node.offset else ''}",
    Project: lambda node, sql: ", ".join(f"{sql(value)} AS {name}" for name, value in node.outputs),
    Query: lambda node, sql: sql(node.select),
}


def _asked(one: Asked, sql: Text) -> str:
    fields = ", ".join(sql(field.expression) for field in one.call.fields)
    guard = f" if {sql(one.guard)}" if one.guard is not None else ""
    return f"{one.column} = {one.call.kind}('{one.call.prompt}'{', ' if fields else ''}{fields}){guard}"


def _bare_column(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Column):
        return exp.column(node.name)
    return exp.to_identifier(node.name) if isinstance(node, exp.Identifier) and node.args.get("quoted") else node

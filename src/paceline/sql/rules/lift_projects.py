"""Names given in subqueries are carried up, so that the calls below and the conditions above meet."""

from __future__ import annotations

from dataclasses import replace

from paceline.sql.plan import (
    Ask,
    AskFilter,
    Filter,
    Join,
    Limit,
    Node,
    Project,
    Reduce,
    Sort,
    asked_of,
    column,
    map_expressions,
    substitute,
    transform,
    with_inputs,
)
from paceline.sql.rules.rule import Counts


def lift_projects(node: Node, counts: Counts) -> Node:
    return transform(node, _lifted)


def _lifted(node: Node) -> Node:
    match node:
        case Project(input=Project(input=below, outputs=inner), outputs=outputs):
            return Project(below, tuple((name, substitute(value, dict(inner))) for name, value in outputs))
        case (
            Filter(input=Project() as project)
            | Ask(input=Project() as project)
            | AskFilter(input=Project() as project)
            | Reduce(input=Project() as project)
            | Sort(input=Project() as project)
            | Limit(input=Project() as project)
        ):
            names = dict(project.outputs)
            moved = map_expressions(node, lambda expression: substitute(expression, names))
            answers = tuple((asked.column, column(asked.column)) for asked in asked_of(node))
            lower = _lifted(with_inputs(moved, (project.input,)))
            return _lifted(replace(project, input=lower, outputs=(*project.outputs, *answers)))
        case Join(left=left, right=right, kind="INNER" | "CROSS"):
            if isinstance(left, Project) and set(left.input.columns).isdisjoint(right.columns):
                return _lifted_join(node, left, replace(node, left=left.input), right)
            if isinstance(right, Project) and set(right.input.columns).isdisjoint(left.columns):
                return _lifted_join(node, right, replace(node, right=right.input), left)
    return node


def _lifted_join(node: Join, project: Project, lower: Join, other: Node) -> Node:
    names = dict(project.outputs)
    moved = map_expressions(lower, lambda expression: substitute(expression, names))
    values = names | {name: column(name) for name in other.columns}
    return _lifted(Project(_lifted(moved), tuple((name, values[name]) for name in node.columns)))

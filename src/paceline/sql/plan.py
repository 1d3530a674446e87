"""Logical nodes of a query with LLM calls, one operator each.

Columns are flat: every column that a node gives has one name of its own within its block, written ``_t.name`` in
expressions, whatever node stands below. Nodes are values; a rule makes new ones. sqlglot's expressions in them are
never changed in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, cast

from sqlglot import exp

from paceline.sql.call import Call

INPUT: Final = "_t"  # what a node calls its input
ROW: Final = "_row"  # row ids of a relation that was kept
NAMED: Final = "_plan"  # how tables are called that an earlier sub-plan fills
ANSWER: Final = "_llm"  # how columns with answers are called


def column(name: str, shown_as: str = "") -> exp.Column:
    """A column of the input; ``shown_as`` is its name in prompts, if that is another."""
    made = exp.column(name, table=INPUT, quoted=True)
    if shown_as:
        made.meta["shown_as"] = shown_as
    return made


@dataclass(frozen=True, slots=True)
class Asked:
    """A call, the column that its answer becomes, and the rows that need one (all if there is no guard)."""

    call: Call
    column: str
    guard: exp.Expr | None = None

    @property
    def reads(self) -> frozenset[str]:
        """Columns that must be there before it can be asked."""
        return frozenset().union(*map(columns_of, self.expressions))

    @property
    def expressions(self) -> tuple[exp.Expr, ...]:
        return (*(field.expression for field in self.call.fields), *([self.guard] if self.guard else []))


@dataclass(frozen=True, slots=True)
class Predicate:
    """A condition that needs answers."""

    asked: tuple[Asked, ...]
    condition: exp.Expr

    @property
    def reads(self) -> frozenset[str]:
        """Columns of the input that it needs."""
        own = {asked.column for asked in self.asked}
        return (columns_of(self.condition) | frozenset().union(*(asked.reads for asked in self.asked))) - own


@dataclass(frozen=True, slots=True)
class Scan:
    """A query without calls, for the engine to run."""

    query: exp.Query
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Join:
    left: Node
    right: Node
    kind: str  # INNER, LEFT, RIGHT, FULL, CROSS, SEMI, ANTI
    on: exp.Expr | None

    @property
    def columns(self) -> tuple[str, ...]:
        return self.left.columns if self.kind in ("SEMI", "ANTI") else self.left.columns + self.right.columns


@dataclass(frozen=True, slots=True)
class Filter:
    """Keeps the rows for which a condition without calls is true."""

    input: Node
    condition: exp.Expr

    @property
    def columns(self) -> tuple[str, ...]:
        return self.input.columns


@dataclass(frozen=True, slots=True)
class Ask:
    """Adds answers as columns. Several calls in one node are asked row by row, back to back."""

    input: Node
    asked: tuple[Asked, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.input.columns, *(asked.column for asked in self.asked))


@dataclass(frozen=True, slots=True)
class AskFilter:
    """Keeps the rows for which all predicates are true, and the answers that were needed to know.

    The predicates may be asked in any order. With ``wanted``, the first so many rows (in the order of ``order``,
    if there is one) are enough.
    """

    input: Node
    predicates: tuple[Predicate, ...]
    wanted: int | None = None
    order: tuple[exp.Ordered, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.input.columns, *(asked.column for one in self.predicates for asked in one.asked))


@dataclass(frozen=True, slots=True)
class Reduce:
    """Adds to every row the answer about its whole group (``llm_agg``)."""

    input: Node
    asked: Asked
    keys: tuple[exp.Expr, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.input.columns, self.asked.column)


@dataclass(frozen=True, slots=True)
class Sort:
    input: Node
    keys: tuple[exp.Ordered, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return self.input.columns


@dataclass(frozen=True, slots=True)
class Limit:
    input: Node
    count: int | None
    offset: int = 0

    @property
    def columns(self) -> tuple[str, ...]:
        return self.input.columns


@dataclass(frozen=True, slots=True)
class Project:
    """Names expressions without aggregates or windows."""

    input: Node
    outputs: tuple[tuple[str, exp.Expr], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.outputs)


@dataclass(frozen=True, slots=True)
class Query:
    """What is left of a SELECT with groups, windows or DISTINCT once its calls are columns; for the engine to run."""

    input: Node
    select: exp.Select  # without FROM

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.select.named_selects)


Node: TypeAlias = Scan | Join | Filter | Ask | AskFilter | Reduce | Sort | Limit | Project | Query


@dataclass(frozen=True, slots=True)
class Plan:
    """Sub-plans to run first, by the name under which later ones scan their rows, and what gives the answer."""

    root: Node
    named: tuple[tuple[str, Node], ...] = ()

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (*(node for _, node in self.named), self.root)

    def map(self, change: Callable[[Node], Node]) -> Plan:
        return Plan(change(self.root), tuple((name, change(node)) for name, node in self.named))


def inputs(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Scan):
        return ()
    return (node.left, node.right) if isinstance(node, Join) else (node.input,)


def with_inputs(node: Node, new: tuple[Node, ...]) -> Node:
    if isinstance(node, Scan):
        return node
    if isinstance(node, Join):
        return replace(node, left=new[0], right=new[1])
    return cast(Node, replace(node, input=new[0]))


def transform(node: Node, change: Callable[[Node], Node]) -> Node:
    """The tree after ``change`` of every node, inputs first."""
    return change(with_inputs(node, tuple(transform(child, change) for child in inputs(node))))


def walk(node: Node) -> Iterator[Node]:
    """Every node, inputs first."""
    for child in inputs(node):
        yield from walk(child)
    yield node


def asked_of(node: Node) -> tuple[Asked, ...]:
    """The calls of this very node."""
    match node:
        case Ask(asked=asked):
            return asked
        case AskFilter(predicates=predicates):
            return tuple(asked for one in predicates for asked in one.asked)
        case Reduce(asked=one):
            return (one,)
    return ()


def expressions_of(node: Node) -> tuple[exp.Expr, ...]:
    """What a node computes over its input, its calls' fields and guards left out."""
    match node:
        case Join(on=on):
            return (on,) if on else ()
        case Filter(condition=condition):
            return (condition,)
        case AskFilter(predicates=predicates, order=order):
            return (*(one.condition for one in predicates), *order)
        case Reduce(keys=keys) | Sort(keys=keys):
            return tuple(keys)
        case Project(outputs=outputs):
            return tuple(expression for _, expression in outputs)
        case Query(select=select):
            return (select,)
    return ()


def reads_of(node: Node) -> frozenset[str]:
    """Columns of its input that a node needs for what it computes itself."""
    own = {asked.column for asked in asked_of(node)}
    parts = [*map(columns_of, expressions_of(node)), *(asked.reads for asked in asked_of(node))]
    return frozenset().union(*parts) - own


def map_expressions(node: Node, change: Callable[[exp.Expr], exp.Expr]) -> Node:
    """The node with every expression changed, those of its calls too."""

    def ordered(keys: tuple[exp.Ordered, ...]) -> tuple[exp.Ordered, ...]:
        return tuple(cast(exp.Ordered, change(key)) for key in keys)

    match node:
        case Join(on=on) if on is not None:
            return replace(node, on=change(on))
        case Filter(condition=condition):
            return replace(node, condition=change(condition))
        case Ask(asked=asked):
            return replace(node, asked=tuple(_map_asked(one, change) for one in asked))
        case AskFilter(predicates=predicates, order=order):
            return replace(
                node,
                predicates=tuple(
                    Predicate(tuple(_map_asked(a, change) for a in one.asked), change(one.condition))
                    for one in predicates
                ),
                order=ordered(order),
            )
        case Reduce(asked=one, keys=keys):
            return replace(node, asked=_map_asked(one, change), keys=tuple(map(change, keys)))
        case Sort(keys=sort_keys):
            return replace(node, keys=ordered(sort_keys))
        case Project(outputs=outputs):
            return replace(node, outputs=tuple((name, change(value)) for name, value in outputs))
        case Query(select=select):
            return replace(node, select=cast(exp.Select, change(select)))
    return node


def _map_asked(one: Asked, change: Callable[[exp.Expr], exp.Expr]) -> Asked:
    fields = tuple(replace(item, expression=change(item.expression)) for item in one.call.fields)
    guard = change(one.guard) if one.guard is not None else None
    return replace(one, call=replace(one.call, fields=fields), guard=guard)


def has_asks(node: Node) -> bool:
    """Whether any call is made for the rows of a node."""
    return any(asked_of(one) for one in walk(node))


def columns_of(expression: exp.Expr) -> frozenset[str]:
    """Names of the input's columns in an expression."""
    return frozenset(found.name for found in expression.find_all(exp.Column) if found.table == INPUT)


def substitute(expression: exp.Expr, values: dict[str, exp.Expr]) -> exp.Expr:
    """``expression`` with columns of the input replaced."""

    def change(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Column) and node.table == INPUT and node.name in values:
            value = values[node.name].copy()
            return value if isinstance(value, exp.Column | exp.Literal | exp.Func) else exp.paren(value)
        return node

    return expression.transform(change)

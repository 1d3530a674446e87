"""The parts of a SELECT, and one flat name for every column that it uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypeAlias, TypeVar

from sqlglot import exp

from paceline.errors import PlanError
from paceline.sql.call import has_calls
from paceline.sql.plan import Scan, column

Flat: TypeAlias = dict[tuple[str, str], str]  # (alias, column) -> name within the block
Found = TypeVar("Found", bound=exp.Expr)


def sources(select: exp.Select) -> list[exp.Expr]:
    """What FROM and its joins read, in order."""
    clause = select.args.get("from_")
    return [*([clause.this] if clause else []), *(join.this for join in select.args.get("joins") or ())]


def is_regular(join: exp.Join) -> bool:
    """Whether both sides can be run for themselves: no NATURAL, ASOF or POSITIONAL, nothing lateral."""
    return not join.method and not join.args.get("using") and isinstance(join.this, exp.Table | exp.Subquery)


def conjuncts(where: exp.Expr | None) -> list[exp.Expr]:
    return list(where.this.flatten()) if where and isinstance(where.this, exp.And) else [where.this] if where else []


def calls_out_of_joins(select: exp.Select) -> list[exp.Expr]:
    """Takes conditions with calls out of ON: for an inner join they may as well stand in WHERE."""
    moved: list[exp.Expr] = []
    for join in select.args.get("joins") or ():
        on = join.args.get("on")
        if on is None or not has_calls(on):
            continue
        if join.side or (join.kind or "INNER").upper() != "INNER":
            raise PlanError(f"ON of a {join.side or join.kind} join cannot hold LLM calls: ask in a subquery before it")
        conditions = list(on.flatten()) if isinstance(on, exp.And) else [on]
        moved.extend(one for one in conditions if has_calls(one))
        kept = [one.copy() for one in conditions if not has_calls(one)]
        join.set("on", exp.and_(*kept) if kept else None)
        join.set("kind", None if kept else "CROSS")
    return moved


def _clauses(select: exp.Select) -> Iterator[exp.Expr]:
    """The parts of a SELECT in which columns of its sources are expressions: all but the sources."""
    for name, value in select.args.items():
        if name == "joins":
            yield from (join.args["on"] for join in value or () if join.args.get("on"))
        elif name not in ("from_", "with_", "laterals"):
            yield from (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, exp.Expr))


def subqueries(select: exp.Select) -> Iterator[exp.Query]:
    """Outermost queries in a SELECT's expressions."""

    def search(node: exp.Expr) -> Iterator[exp.Query]:
        if isinstance(node, exp.Query):
            yield node
        else:
            for child in node.iter_expressions():
                yield from search(child)

    for clause in list(_clauses(select)):
        yield from search(clause)


def _references(node: exp.Expr, aliases: frozenset[str], *, top: bool = True) -> Iterator[exp.Column]:
    """Columns of ``aliases``, in subqueries too unless these have sources of the same name."""
    if isinstance(node, exp.Column):
        if node.table in aliases:
            yield node
    elif isinstance(node, exp.Select):
        visible = aliases if top else aliases - {one.alias_or_name for one in sources(node)}
        children = list(_clauses(node)) + ([] if top else sources(node))
        for child in children:
            yield from _references(child, visible, top=False)
    else:
        for child in list(node.iter_expressions()):
            yield from _references(child, aliases, top=False)


def flat_names(select: exp.Select, moved: Sequence[exp.Expr]) -> Flat:
    """One name for every column that is used: its own, with its table's in front where two are called alike."""
    aliases = frozenset(one.alias_or_name for one in sources(select))
    found = [*_references(select, aliases), *(one for condition in moved for one in _references(condition, aliases))]
    used = list(dict.fromkeys((one.table, one.name) for one in found))
    count = Counter(name.lower() for _, name in used)
    taken = {name.lower() for _, name in used if count[name.lower()] == 1}
    flat: Flat = {}
    for alias, name in used:
        base = name if count[name.lower()] == 1 else f"{alias}_{name}"
        while base.lower() in taken and count[name.lower()] > 1:
            base += "_"
        taken.add(base.lower())
        flat[alias, name] = base
    return flat


def flatten(node: Found, flat: Flat) -> Found:
    """``node`` itself with its columns under their flat names."""
    if isinstance(node, exp.Column):
        return _flat_column(node, flat) if (node.table, node.name) in flat else node  # type: ignore[return-value]
    for one in list(_references(node, frozenset(alias for alias, _ in flat))):
        one.replace(_flat_column(one, flat))
    return node


def _flat_column(one: exp.Column, flat: Flat) -> exp.Column:
    return column(flat[one.table, one.name], shown_as=f"{one.table}.{one.name}")


def scan(source: exp.Select, aliases: Sequence[str], flat: Flat) -> Scan:
    columns = [
        exp.alias_(exp.column(name, table=alias, quoted=True), new, quoted=True)
        for (alias, name), new in flat.items()
        if alias in aliases
    ]
    select = exp.Select(**{name: source.args.get(name) for name in ("from_", "joins", "laterals")}).copy()
    columns = columns or [exp.alias_(exp.Literal.number(1), "_one")]
    return Scan(select.select(*columns), tuple(one.alias for one in columns))

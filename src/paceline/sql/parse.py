"""SQL text to a logical plan, as written: nothing is reordered here, that is what the rules are for."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from sqlglot import exp

from paceline.errors import PlanError
from paceline.sql import lift
from paceline.sql.call import KINDS, calls_in, has_calls, read
from paceline.sql.flat import (
    Flat,
    calls_out_of_joins,
    conjuncts,
    flat_names,
    flatten,
    is_regular,
    scan,
    sources,
    subqueries,
)
from paceline.sql.names import Catalog, resolve
from paceline.sql.plan import (
    ANSWER,
    NAMED,
    Ask,
    Asked,
    AskFilter,
    Filter,
    Join,
    Limit,
    Node,
    Plan,
    Predicate,
    Project,
    Query,
    Reduce,
    Scan,
    Sort,
    column,
)

Found = TypeVar("Found", bound=exp.Expr)


def parse(text: str, dialect: str, catalog: Catalog, tables: Iterable[str] = ()) -> Plan:
    """The plan of a query, in the order in which it is written.

    Raises:
        PlanError: a syntax error, an unknown name (the nearest is offered), or LLM calls where none can be.
    """
    query = resolve(text, dialect, catalog, tables)
    builder = _Builder()
    root = builder.query(query)
    return Plan(root, tuple(builder.named))


@dataclass
class _Builder:
    named: list[tuple[str, Node]] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def query(self, query: exp.Query) -> Node:
        if not has_calls(query):
            return Scan(query, tuple(query.named_selects))
        self._inline_with(query)
        if isinstance(query, exp.Subquery):
            return self.query(query.this)
        if isinstance(query, exp.SetOperation):
            for arm in (query.left, query.right):
                self._set_aside(arm)
            return Scan(query, tuple(query.named_selects))
        assert isinstance(query, exp.Select)
        return self._select(lift.lift(query) if lift.late_calls(query) else query)

    def _inline_with(self, query: exp.Query) -> None:
        """A WITH that is used once becomes a subquery, one that is used again a sub-plan that runs once."""
        clause = query.args.get("with_")
        if clause is None:
            return
        query.set("with_", None)
        if clause.args.get("recursive"):
            self._run_first(clause, query)
            return
        pending = list(clause.expressions)
        for number, cte in enumerate(pending):
            scopes: list[exp.Expr] = [query, *pending[number + 1 :]]
            uses = [
                use for scope in scopes for use in scope.find_all(exp.Table) if use.name == cte.alias and not use.db
            ]
            body = cte.this
            for alias, item in zip(cte.args["alias"].columns, body.selects, strict=False):
                item.replace(exp.alias_(item.unalias().copy(), alias.name, quoted=True))
            if len(uses) == 1:
                uses[0].replace(
                    exp.Subquery(this=body, alias=exp.TableAlias(this=exp.to_identifier(uses[0].alias, quoted=True)))
                )
            elif uses:
                name = self._name_plan(self.query(body))
                for use in uses:
                    use.replace(exp.alias_(exp.table_(name, quoted=True), use.alias, table=True, quoted=True))

    def _run_first(self, clause: exp.With, query: exp.Query) -> None:
        """A recursive WITH runs as it is, before the query."""
        if has_calls(clause):
            raise PlanError("a recursive WITH cannot hold LLM calls")
        for cte in clause.expressions:
            names = [one.name for one in cte.args["alias"].columns] or cte.this.named_selects
            columns = [exp.column(name, quoted=True) for name in names]
            rows = exp.select(*columns).from_(exp.table_(cte.alias, quoted=True))
            rows.set("with_", clause.copy())
            name = self._name_plan(Scan(rows, tuple(names)))
            for use in [use for use in query.find_all(exp.Table) if use.name == cte.alias and not use.db]:
                use.replace(exp.alias_(exp.table_(name, quoted=True), use.alias, table=True, quoted=True))

    def _name_plan(self, node: Node) -> str:
        name = f"{NAMED}{len(self.named)}"
        self.named.append((name, node))
        return name

    def _set_aside(self, query: exp.Query) -> None:
        """Puts a scan of a sub-plan in the place of ``query``, if it has calls."""
        if not has_calls(query):
            return
        node = self.query(query.copy())
        name = self._name_plan(node)
        columns = [exp.column(one, table=name, quoted=True) for one in node.columns]
        scan = exp.select(*columns).from_(exp.table_(name, quoted=True))
        if isinstance(query, exp.Subquery):
            query.set("this", scan)
        else:
            query.replace(scan)

    def _select(self, select: exp.Select) -> Node:
        self._set_aside_subqueries(select)
        moved = calls_out_of_joins(select)
        flat = flat_names(select, moved)
        conditions = [*moved, *conjuncts(select.args.get("where"))]
        node = self._source(select, flat)
        for condition in conditions:
            condition = flatten(condition.copy(), flat)
            if has_calls(condition):
                asked, condition = self._extract(condition, tested=True)
                inner = frozenset().union(*(one.reads for one in asked))  # answers that other calls are about
                node = _asks(node, (one for one in asked if one.column in inner))
                node = AskFilter(node, (Predicate(tuple(one for one in asked if one.column not in inner), condition),))
            else:
                node = Filter(node, condition)
        select = flatten(select.copy(), flat)
        for clause in ("from_", "joins", "where", "laterals"):
            select.set(clause, None)
        return self._grouped(select, node) if lift.is_grouped(select) else self._plain(select, node)

    def _set_aside_subqueries(self, select: exp.Select) -> None:
        """Subqueries with calls that stand in expressions are answered first."""
        for inner in [found for found in subqueries(select) if has_calls(found)]:
            inside = {source.alias_or_name for scope in inner.find_all(exp.Select) for source in sources(scope)}
            outer = [one for one in inner.find_all(exp.Column) if one.table and one.table not in inside]
            if outer:
                raise PlanError(f"a subquery with LLM calls cannot refer to {outer[0].sql()} outside it; join instead")
            self._set_aside(inner)

    def _source(self, select: exp.Select, flat: Flat) -> Node:
        parts = sources(select)
        joins = select.args.get("joins") or []
        if not parts:
            return Scan(exp.select(exp.alias_(exp.Literal.number(1), "_one")), ("_one",))
        regular = all(map(is_regular, joins)) and not select.args.get("laterals")
        if not regular or not all(isinstance(one, exp.Table | exp.Subquery) for one in parts):
            for source in parts:
                if isinstance(source, exp.Subquery):
                    self._set_aside(source)
            return scan(select, [one.alias_or_name for one in parts], flat)
        node = self._leaf(parts[0], flat)
        for join, source in zip(joins, parts[1:], strict=True):
            on = join.args.get("on")
            kind = (join.side or join.kind or ("INNER" if on else "CROSS")).upper()
            node = Join(node, self._leaf(source, flat), kind, flatten(on.copy(), flat) if on else None)
        return node

    def _leaf(self, source: exp.Expr, flat: Flat) -> Node:
        alias = source.alias_or_name
        if isinstance(source, exp.Subquery) and has_calls(source):
            inner = self.query(source.this)
            outputs = [(flat[alias, name], column(name)) for name in inner.columns if (alias, name) in flat]
            return Project(inner, tuple(outputs) or ((inner.columns[0], column(inner.columns[0])),))
        return scan(exp.Select(from_=exp.From(this=source.copy())), [alias], flat)

    def _plain(self, select: exp.Select, node: Node) -> Node:
        """A SELECT that gives one row for every row of its input."""
        outputs: list[tuple[str, exp.Expr]] = []
        for item in select.expressions:
            asked, value = self._extract(item.unalias())
            node = _asks(node, asked)
            outputs.append((item.alias_or_name, value))
        order = select.args.get("order")
        keys: list[exp.Ordered] = []
        named = dict(outputs)
        for key in order.expressions if order else ():
            if isinstance(key.this, exp.Column) and not key.this.table and key.this.name in named:
                key = key.copy()
                key.set("this", named[key.this.name].copy())
            asked, key = self._extract(key)
            node = _asks(node, asked)
            keys.append(key)
        node = Sort(node, tuple(keys)) if keys else node
        count, offset = _literal(select, "limit"), _literal(select, "offset")
        if count is not None or offset:
            node = Limit(node, count, offset or 0)
        return Project(node, tuple(outputs))

    def _grouped(self, select: exp.Select, node: Node) -> Node:
        """A SELECT with groups, windows or DISTINCT: its calls become columns of its input."""
        keys: tuple[exp.Expr, ...] | None = None
        for call in [call for call in calls_in(select) if call.name.lower() == "llm_agg"]:
            keys = lift.group_keys(select) if keys is None else keys
            node, value = self._reduce(node, call, keys)
            outermost = call.parent if isinstance(call.parent, exp.Filter) else call
            outermost.replace(exp.AnyValue(this=value))
        asked, rest = self._extract(select)
        return Query(_asks(node, asked), rest)

    def _reduce(self, node: Node, call: exp.Anonymous, keys: Sequence[exp.Expr]) -> tuple[Node, exp.Expr]:
        guard = call.parent.expression.this if isinstance(call.parent, exp.Filter) else None
        if any(has_calls(one) for one in (*keys, *call.expressions, *([guard] if guard else []))):
            raise PlanError("llm_agg over other LLM calls: compute them in a subquery first")
        name = f"{ANSWER}{next(self._numbers)}"
        asked = Asked(read(call), name, guard.copy() if guard else None)
        return Reduce(node, asked, tuple(key.copy() for key in keys)), column(name)

    def _extract(self, expression: Found, *, tested: bool = False) -> tuple[tuple[Asked, ...], Found]:
        """The calls of an expression, inner ones first, and the expression with columns in their place."""
        root = exp.Paren(this=expression.copy())  # so that a call at the top has a parent
        asked: list[Asked] = []

        def visit(node: exp.Expr) -> None:
            for child in list(node.iter_expressions()):
                visit(child)
            if not (isinstance(node, exp.Anonymous) and node.name.lower() in KINDS):
                return
            call = read(node)
            if call.is_aggregate:
                raise PlanError(f"{call} is an aggregate: it can stand in SELECT, HAVING and ORDER BY only")
            one = next((one for one in asked if one.call == call), None)  # GROUP BY repeats what SELECT says
            if one is None:
                one = Asked(call, f"{ANSWER}{next(self._numbers)}")
                asked.append(one)
            value: exp.Expr = column(one.column, shown_as=one.call.kind)
            if one.call.options.on_error == "keep" and _is_condition(node, root, tested):
                value = exp.Dot(this=value, expression=exp.to_identifier("value"))
            node.replace(value)

        visit(root)
        result: Found = root.this
        result.pop()
        return tuple(asked), result


def _asks(node: Node, asked: Iterable[Asked]) -> Node:
    for one in asked:
        node = Ask(node, (one,))
    return node


def _is_condition(node: exp.Expr, root: exp.Expr, tested: bool) -> bool:
    """Whether a truth value is wanted at this place, not the answer itself."""
    parent = node.parent
    if isinstance(parent, exp.If):
        return parent.this is node
    return tested if parent is root else isinstance(parent, exp.And | exp.Or | exp.Not)


def _literal(select: exp.Select, clause: str) -> int | None:
    node = select.args.get(clause)
    if node is None:
        return None
    value = node.args.get("count") if isinstance(node, exp.Fetch) else node.expression
    if not isinstance(value, exp.Literal) or not value.is_int or node.args.get("limit_options"):
        raise PlanError(f"{clause.upper()} must be a whole number in a query with LLM calls, got {node.sql()}")
    return int(value.this)

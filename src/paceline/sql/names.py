"""Names in a query: every column gets its table, and a name that nothing has is answered with the nearest one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, traverse_scope
from sqlglot.schema import MappingSchema

from paceline.errors import PlanError
from paceline.sql.call import calls_in, has_calls, nearest
from paceline.sql.plan import ROW

Columns = Mapping[str, str]  # name -> SQL type
Catalog = Callable[[str], Columns | None]
"""The columns of a table or a file by its name as written; None if there is none."""


def resolve(text: str, dialect: str, catalog: Catalog, tables: Iterable[str]) -> exp.Query:
    """The query with every column qualified and every ``*`` spelled out, in calls too.

    Raises:
        PlanError: no query, more than one, a syntax error, or a name that is not there.
    """
    query = _parsed(text, dialect)
    known = _tables(query, dialect, catalog, tables)
    _fold_case(query, known)
    _name_outputs(query, dialect)
    schema = MappingSchema(dialect=dialect, normalize=False)
    for name, columns in known.items():
        schema.add_table(exp.to_table(name) if name.isidentifier() else exp.table_(name), dict(columns))
    try:
        qualified = qualify(
            query,
            schema=schema,
            dialect=f"{dialect}, normalization_strategy=case_sensitive",
            validate_qualify_columns=False,
        )
    except SqlglotError as error:
        missing = str(error).removeprefix("Unknown column: ")
        if missing != str(error):
            everything = {name for columns in known.values() for name in columns}
            raise PlanError(f"there is no column {missing!r}{nearest(missing, everything)}") from error
        raise PlanError(f"the query cannot be resolved: {error}") from error
    asks = has_calls(qualified)
    for scope in traverse_scope(qualified):
        if asks:
            _check_stars(scope)
        sources = {alias: _columns(source, known) for alias, source in scope.sources.items()}
        _spell_out_stars(scope, sources)
        _check_columns(scope, sources)
    return qualified


def _parsed(text: str, dialect: str) -> exp.Query:
    try:
        statements = [statement for statement in sqlglot.parse(text, dialect=dialect) if statement is not None]
    except ParseError as error:
        detail = error.errors[0] if error.errors else {}
        where = f" near {detail['highlight']!r}, line {detail['line']}" if detail.get("highlight") else ""
        raise PlanError(f"syntax error{where}: {detail.get('description') or error}") from error
    except SqlglotError as error:
        raise PlanError(f"the query cannot be read: {error}") from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise PlanError("one query (SELECT … or WITH … SELECT) is needed; wrap other statements around its result")
    for _ in calls_in(statements[0]):  # raises for a function that does not exist
        pass
    return statements[0]


def _tables(query: exp.Query, dialect: str, catalog: Catalog, tables: Iterable[str]) -> dict[str, Columns]:
    """Columns of every table that the query names and that is not one of its own WITH."""
    own = {cte.alias.lower() for cte in query.find_all(exp.CTE)}
    known: dict[str, Columns] = {}
    for table in query.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier) or (table.name.lower() in own and not table.db):
            continue
        columns = catalog(exp.table_(table.this.copy(), table.args.get("db"), table.args.get("catalog")).sql(dialect))
        if columns is None:
            raise PlanError(f"there is no table or file {table.name!r}{nearest(table.name, {*tables, *own})}")
        if not table.db:
            known[table.name] = {name: kind for name, kind in columns.items() if name != ROW}
    return known


def _fold_case(query: exp.Query, known: Mapping[str, Columns]) -> None:
    """Columns are found whatever their case, and keep that of their table in results and prompts."""
    spelling: dict[str, set[str]] = {}
    for columns in known.values():
        for name in columns:
            spelling.setdefault(name.lower(), set()).add(name)
    for column in query.find_all(exp.Column):
        names = spelling.get(column.name.lower(), set())
        if len(names) == 1 and isinstance(column.this, exp.Identifier):
            column.this.set("this", next(iter(names)))
    aliases = {
        alias.alias.lower(): alias.alias for alias in query.find_all(exp.Table, exp.Subquery, exp.CTE) if alias.alias
    }
    aliases |= {name.lower(): name for name in known if name.lower() not in aliases}
    for column in query.find_all(exp.Column):
        if column.table.lower() in aliases:
            column.args["table"].set("this", aliases[column.table.lower()])


def _name_outputs(query: exp.Query, dialect: str) -> None:
    """A call without an alias is named after its function, anything else after its text."""
    for select in query.find_all(exp.Select):
        taken = {item.output_name for item in select.expressions}
        for item in select.expressions:
            if item.output_name or item.find(exp.Star, exp.Columns):
                continue
            base = item.name.lower() if isinstance(item, exp.Anonymous) else item.sql(dialect)
            numbered = itertools.chain([base], (f"{base}_{number}" for number in itertools.count(2)))
            name = next(name for name in numbered if name not in taken)
            taken.add(name)
            item.replace(exp.alias_(item.copy(), name, quoted=True))


def _columns(source: exp.Expr | Scope, known: Mapping[str, Columns]) -> list[str] | None:
    """Names of a source's columns; None where they cannot be known before it runs."""
    if isinstance(source, Scope):
        names = source.expression.named_selects if isinstance(source.expression, exp.Query) else ["*"]
        return None if "*" in names else list(names)
    if isinstance(source, exp.Table) and source.name in known and not source.args["alias"].args.get("columns"):
        return list(known[source.name])
    return None


def _check_stars(scope: Scope) -> None:
    if isinstance(scope.expression, exp.Select) and any(item.is_star for item in scope.expression.expressions):
        tables = ", ".join(node.sql() for node, _ in scope.selected_sources.values())
        raise PlanError(f"* over {tables} stands for no known columns; name them, or register the table first")


def _spell_out_stars(scope: Scope, sources: Mapping[str, list[str] | None]) -> None:
    """Puts columns in the place of ``*`` and ``r.*`` among the fields of calls, those that are named beside it left out."""
    for call in [call for call in calls_in(scope.expression) if call.parent_select is scope.expression]:
        named = {(column.table, column.name) for column in call.find_all(exp.Column)}
        for star in list(call.find_all(exp.Star)):
            holder = star.parent if isinstance(star.parent, exp.Column) else star
            arguments = holder.parent
            if not isinstance(arguments, exp.Anonymous):
                continue  # count(*)
            wanted = [holder.table] if isinstance(holder, exp.Column) else list(scope.selected_sources)
            pairs = [(alias, name) for alias in wanted for name in sources.get(alias) or ()]
            if not pairs:
                raise PlanError(f"{holder.sql()} in {call.name} stands for no known columns; name them")
            columns = [
                exp.column(name, table=alias, quoted=True) for alias, name in pairs if (alias, name) not in named
            ]
            places = [columns if old is holder else [old] for old in arguments.expressions]
            arguments.set("expressions", list(itertools.chain.from_iterable(places)))


def _check_columns(scope: Scope, sources: Mapping[str, list[str] | None]) -> None:
    aliases = set(scope.expression.named_selects) if isinstance(scope.expression, exp.Query) else set()
    everything = {name for names in sources.values() for name in names or ()}
    for column in scope.columns:
        if column.table and column.table in sources:
            names = sources[column.table]
            if names is not None and column.name not in names and column.name != "*":
                raise PlanError(f"{column.table} has no column {column.name!r}{nearest(column.name, names)}")
        elif column.table and not _outer_has(scope, column.table):
            raise PlanError(f"no table is called {column.table!r}{nearest(column.table, sources)}")
        elif not column.table and not _is_bound(column) and not (column.name in aliases and _may_be_alias(column)):
            holders = [alias for alias, names in sources.items() if column.name in (names or ())]
            if len(holders) > 1:
                raise PlanError(
                    f"the column {column.name!r} is in {' and '.join(holders)}; write {holders[0]}.{column.name}"
                )
            raise PlanError(f"there is no column {column.name!r}{nearest(column.name, everything)}")


def _outer_has(scope: Scope, alias: str) -> bool:
    outer = scope.parent
    while outer is not None:
        if alias in outer.sources:
            return True
        outer = outer.parent
    return False


def _may_be_alias(column: exp.Column) -> bool:
    return column.find_ancestor(exp.Order, exp.Group, exp.Having, exp.Qualify, exp.Distinct) is not None


def _is_bound(column: exp.Column) -> bool:
    """Whether the name is a parameter of a lambda, or a part of the syntax rather than a column."""
    around = column.find_ancestor(exp.Lambda)
    return around is not None and any(column.name == parameter.name for parameter in around.expressions)

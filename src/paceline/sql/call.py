"""One LLM call in a query: what is asked, of which fields, and how the answer is read.

Calls are written as functions. The question is a constant text, everything after it is a field of the row::

    llm('Summarise the review.', review, title)                              -> VARCHAR
    llm_filter('Is the review positive?', review)                            -> BOOLEAN
    llm_choice('Which team?', ['billing', 'delivery'], message)              -> VARCHAR, one of the labels
    llm_json('What is praised?', '{"aspect": "string", "stars": "integer"}', review) -> STRUCT
    llm_score('How happy, from 1 to 5?', review)                             -> DOUBLE
    llm_agg('What do the reviews agree on?', review)                         -> VARCHAR, an aggregate

Options are constants given by keyword, ``on_error := 'keep'`` or ``on_error => 'keep'``: both are read in the
dialects of DuckDB and of Spark. A keyword before an expression of columns names a field, ``text := left(review, 500)``.
``*`` and ``r.*`` stand for all columns; ``unordered(a, b, …)`` marks fields that may be exchanged for one another, and
``pin_last(question)`` those that stay at the end of every prompt.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

from sqlglot import exp

from paceline.errors import PlanError

FieldOrder: TypeAlias = Literal["auto", "fixed", "as_written"]

YES_NO: Final = ("yes", "no")


class Kind(NamedTuple):
    """What tells the functions apart. ``second``: what stands between the prompt and the fields."""

    max_tokens: int
    second: str = ""  # labels | schema
    is_aggregate: bool = False


KINDS: Final[dict[str, Kind]] = {
    "llm": Kind(128),
    "llm_filter": Kind(8),
    "llm_choice": Kind(32, second="labels"),
    "llm_json": Kind(256, second="schema"),
    "llm_score": Kind(8),
    "llm_agg": Kind(256, is_aggregate=True),
}


@dataclass(frozen=True, slots=True)
class Options:
    """Given by keyword; ``max_tokens`` 0 means the function's own limit, ``model`` '' the connection's."""

    field_order: FieldOrder = "auto"
    on_error: str = "null"
    model: str = ""
    max_tokens: int = 0

    def __post_init__(self) -> None:
        _check_one_of("field_order", self.field_order, get_args(FieldOrder))
        _check_one_of("on_error", self.on_error, ("null", "fail", "keep"))
        if not isinstance(self.model, str):
            raise PlanError(f"model must be a name, got {self.model!r}")
        if not isinstance(self.max_tokens, int) or self.max_tokens < 0:
            raise PlanError(f"max_tokens must be a whole number > 0, got {self.max_tokens!r}")


def _check_one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise PlanError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")


@dataclass(frozen=True, slots=True)
class Field:
    """A value of the row that the model is shown under the name ``key``."""

    key: str
    expression: exp.Expr


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it stands in a query. Equal calls over equal rows have equal answers."""

    kind: str
    prompt: str | None  # None: NULL, and so is the answer
    fields: tuple[Field, ...]
    labels: tuple[str, ...] = ()
    schema: str = ""  # canonical JSON
    options: Options = Options()
    unordered: tuple[tuple[int, ...], ...] = ()  # groups of numbers of fields
    pinned: tuple[int, ...] = ()

    @property
    def max_tokens(self) -> int:
        return self.options.max_tokens or KINDS[self.kind].max_tokens

    @property
    def choices(self) -> tuple[str, ...]:
        return YES_NO if self.kind == "llm_filter" else self.labels

    @property
    def is_aggregate(self) -> bool:
        return KINDS[self.kind].is_aggregate

    def __str__(self) -> str:
        keys = ", ".join(field.key for field in self.fields)
        return f"{self.kind}('{self.prompt}'{', ' if keys else ''}{keys})"


def call_expression(
    function: str,
    prompt: str,
    fields: Sequence[str] | None,
    *,
    labels: Sequence[str] | None = None,
    schema: str | None = None,
    options: Mapping[str, str | int] = MappingProxyType({}),
) -> exp.Expr:
    """A call as it would be written in a query; ``fields`` None stands for all columns.

    >>> print(call_expression("llm_filter", "Good?", ["review"], options={"on_error": "keep"}).sql("duckdb"))
    LLM_FILTER('Good?', "review", on_error := 'keep')
    """
    arguments: list[exp.Expr] = [exp.Literal.string(prompt)]
    if labels is not None:
        arguments.append(exp.Array(expressions=[exp.Literal.string(label) for label in labels]))
    if schema is not None:
        arguments.append(exp.Literal.string(schema))
    arguments += [exp.Star()] if fields is None else [exp.column(name, quoted=True) for name in fields]
    for name, value in options.items():
        arguments.append(exp.PropertyEQ(this=exp.to_identifier(name), expression=exp.convert(value)))
    return exp.Anonymous(this=function, expressions=arguments)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that ends an error about an unknown name.

    >>> nearest("reviw", ["review", "title"])
    "; did you mean 'review'? known: review, title"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), names, n=1)
    return (
        f"; did you mean {near[0]!r}? known: {', '.join(names)}" if near else f"; known: {', '.join(names) or 'none'}"
    )


def calls_in(node: exp.Expr) -> Iterator[exp.Anonymous]:
    """The calls in an expression, inner ones after those around them; PlanError for an unknown ``llm…`` function."""
    for function in node.find_all(exp.Anonymous, bfs=False):
        name = function.name.lower()
        if name in KINDS:
            yield function
        elif name.startswith("llm_"):
            raise PlanError(f"unknown function {name!r}{nearest(name, KINDS)}")


def has_calls(node: exp.Expr) -> bool:
    return next(calls_in(node), None) is not None


@dataclass(slots=True)
class _Arguments:
    """What was read of a call's arguments so far."""

    fields: list[Field] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    unordered: list[tuple[int, ...]] = field(default_factory=list)
    pinned: list[int] = field(default_factory=list)

    def read(self, node: exp.Expr) -> None:
        if isinstance(node, exp.PropertyEQ | exp.Kwarg):
            self._keyword(node.this.name, node.expression)
        elif isinstance(node, exp.Anonymous) and node.name.lower() in ("unordered", "pin_last"):
            first = len(self.fields)
            for child in node.expressions:
                self.read(child)
            numbers = tuple(range(first, len(self.fields)))
            if node.name.lower() == "unordered":
                self.unordered.append(numbers)
            else:
                self.pinned.extend(numbers)
        else:
            self.fields.append(Field(key_of(node), node))

    def _keyword(self, name: str, value: exp.Expr) -> None:
        known = [option.name for option in fields(Options)]
        if name.lower() in known:
            self.options[name.lower()] = constant(value, f"the option {name}")
        elif value.find(exp.Column):
            self.fields.append(Field(name, value))
        else:
            raise PlanError(f"unknown option {name!r}{nearest(name, known)}")


def read(node: exp.Anonymous) -> Call:
    """The call that a function of a qualified query stands for.

    Raises:
        PlanError: a missing or malformed prompt, label list, schema or option.
    """
    kind = node.name.lower()
    arguments = list(node.expressions)
    labels: tuple[str, ...] = ()
    schema = ""
    prompt = constant(_take(arguments, kind, "a prompt"), f"the prompt of {kind}", str)
    if KINDS[kind].second == "labels":
        labels = _labels(_take(arguments, kind, "a list of labels"))
    elif KINDS[kind].second == "schema":
        schema = read_schema(constant(_take(arguments, kind, "a schema"), "the schema of llm_json", str))
    rest = _Arguments()
    for argument in arguments:
        rest.read(argument)
    named = tuple(_distinct_keys(rest.fields, rest.unordered))
    loose = {number for group in rest.unordered for number in group}
    for key, count in Counter(one.key for number, one in enumerate(named) if number not in loose).items():
        if count > 1:
            raise PlanError(f"{kind} is given two fields called {key!r}; leave one out, or name it: other := …")
    return Call(kind, prompt, named, labels, schema, Options(**rest.options), tuple(rest.unordered), tuple(rest.pinned))


def _take(arguments: list[exp.Expr], kind: str, what: str) -> exp.Expr:
    if not arguments or isinstance(arguments[0], exp.PropertyEQ | exp.Kwarg):
        raise PlanError(f"{kind} needs {what}")
    return arguments.pop(0)


def constant(node: exp.Expr, what: str, kind: type | None = None) -> Any:
    """The Python value of a literal; PlanError if it is none, or not of ``kind`` (NULL always is)."""
    if isinstance(node, exp.Null):
        return None
    value: Any = None
    if isinstance(node, exp.Literal):
        value = node.this if node.is_string else (int(node.this) if node.is_int else float(node.this))
    elif isinstance(node, exp.Boolean):
        value = node.this
    if value is None or (kind is not None and not isinstance(value, kind)):
        raise PlanError(f"{what} must be a constant{' text' if kind is str else ''}, got {node.sql()}")
    return value


def _labels(node: exp.Expr) -> tuple[str, ...]:
    if not isinstance(node, exp.Array) or not node.expressions:
        raise PlanError(f"llm_choice needs a list of labels such as ['yes', 'no'] after its prompt, got {node.sql()}")
    labels = tuple(constant(item, "a label of llm_choice", str) for item in node.expressions)
    if len(set(labels)) < len(labels) or not all(labels):
        raise PlanError(f"the labels of llm_choice must be distinct, not NULL and not empty, got {list(labels)}")
    return labels


_TYPES: Final = ("string", "integer", "number", "boolean", "array", "object")


def read_schema(text: str | None) -> str:
    """A JSON schema of an object in canonical form; ``{"name": "type"}`` is short for one with all names required.

    >>> read_schema('{"stars": "integer"}')
    '{"type": "object", "properties": {"stars": {"type": "integer"}}, "required": ["stars"]}'
    """
    try:
        schema = json.loads(text or "")
    except json.JSONDecodeError as error:
        raise PlanError(f"the schema of llm_json is not JSON: {error}; got {text!r}") from error
    if not isinstance(schema, dict) or not schema:
        raise PlanError(f"the schema of llm_json must be a JSON object with at least one name, got {text!r}")
    if all(isinstance(value, str) and value in _TYPES for value in schema.values()) and schema != {"type": "object"}:
        properties = {name: {"type": value} for name, value in schema.items()}
        schema = {"type": "object", "properties": properties, "required": list(schema)}
    if schema.get("type") != "object" or not isinstance(schema.get("properties"), dict):
        types = ", ".join(_TYPES)
        raise PlanError(
            f"the schema of llm_json must be {{name: type}} with types {types}, or a JSON schema with "
            f'"type": "object" and "properties"; got {text!r}'
        )
    return json.dumps(schema, ensure_ascii=False)


def key_of(node: exp.Expr) -> str:
    """What a field is called that was given no name."""
    if isinstance(node, exp.Column):
        return str(node.meta.get("shown_as", node.name)).rpartition(".")[2]
    plain = node.copy()
    for column in plain.find_all(exp.Column):
        column.set("table", None)
    for identifier in plain.find_all(exp.Identifier):
        identifier.set("quoted", False)
    return plain.sql()


def _distinct_keys(found: list[Field], unordered: list[tuple[int, ...]]) -> Iterator[Field]:
    """Two columns of one name are told apart by their tables; fields of one unordered group share a key."""
    shared = {number: _common_key([found[i].key for i in group]) for group in unordered for number in group}
    twice = Counter(field.key for field in found)
    for number, one in enumerate(found):
        key = shared.get(number, one.key)
        is_named_by_column = isinstance(one.expression, exp.Column) and one.key == key_of(one.expression)
        if number not in shared and twice[one.key] > 1 and is_named_by_column:
            key = str(one.expression.meta.get("shown_as", one.key))
        yield Field(key, one.expression)


def _common_key(keys: list[str]) -> str:
    """What interchangeable fields are called: the number of one would tell its place.

    >>> _common_key(["evidence_1", "evidence_2"])
    'evidence'
    """
    first, last = min(keys), max(keys)
    length = next((i for i, letter in enumerate(first) if i >= len(last) or letter != last[i]), len(first))
    return first[:length].rstrip("_0123456789") or "item"

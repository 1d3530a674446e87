"""Compiling a model folder's chat template so that it can render text and nothing else.

The template comes with the model and is not trusted. It runs in Jinja's immutable sandbox, sees plain data only, cannot
load other templates and cannot reach names with double underscores. Its loops end at a deadline, and no
single operation makes a text longer than ``template_filters.MAX_OUTPUT_CHARS``.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox
import jinja2.visitor
from jinja2.exceptions import SecurityError

from paceline.errors import ModelError
from paceline.llm import template_filters
from paceline.llm.template_filters import check_method, check_operator, check_total

MAX_TEMPLATE_CHARS = 2**20
MAX_RENDER_S = 20.0

_DEADLINE = "__deadline__"  # templates and requests may not use such names
_FORBIDDEN_NODES = (jinja2.nodes.Import, jinja2.nodes.FromImport, jinja2.nodes.Include, jinja2.nodes.Extends)


class TemplateRefusal(jinja2.TemplateError):
    """The template itself refused the messages, by ``raise_exception``."""


class Template:
    """A compiled chat template."""

    def __init__(self, source: str, where: str, now: Callable[[], datetime.datetime]) -> None:
        """Compile ``source``, read from the file ``where``; ``now`` answers the template's ``strftime_now``.

        Raises ``ModelError`` for templates that do not parse or that reach for Python's internals or other files.
        """
        if len(source) > MAX_TEMPLATE_CHARS:
            raise ModelError(f"{where}: a chat template of {len(source)} characters; at most {MAX_TEMPLATE_CHARS}")
        environment = _environment(now)
        try:
            tree = environment.parse(source)
            _check_tree(tree, where)
            code = environment.compile(_Bounding().visit(tree))
        except (jinja2.TemplateError, RecursionError, MemoryError, OverflowError) as error:
            raise ModelError(f"{where}: the chat template does not compile ({str(error)[:160]})") from None
        self._inner = environment.template_class.from_code(environment, code, environment.make_globals(None))
        self.global_names = frozenset(environment.globals)

    def generate(self, values: dict[str, Any]) -> Iterator[str]:
        """The rendered text in pieces. Raises whatever the template manages to raise."""
        yield from self._inner.generate({**values, _DEADLINE: time.monotonic() + MAX_RENDER_S})


class _GenerationBlock(jinja2.ext.Extension):
    """``{% generation %}`` marks what a model wrote, for training; here it renders as its body."""

    tags = {"generation"}  # noqa: RUF012  (Jinja's own declaration)

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node | list[jinja2.nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


class _Bounding(jinja2.visitor.NodeTransformer):
    """Puts loops and ``~``, which the sandbox cannot intercept, under the environment's control."""

    def visit_For(self, node: jinja2.nodes.For) -> jinja2.nodes.Node:
        self.generic_visit(node)
        node.iter = _call("bounded_loop", node.iter, node.lineno)
        return node

    def visit_Concat(self, node: jinja2.nodes.Concat) -> jinja2.nodes.Node:
        self.generic_visit(node)
        return _call("bounded_concat", jinja2.nodes.List(node.nodes), node.lineno)


def _call(method: str, argument: jinja2.nodes.Node, line: int) -> jinja2.nodes.Call:
    function = jinja2.nodes.EnvironmentAttribute(method)
    call = jinja2.nodes.Call(function, [jinja2.nodes.ContextReference(), argument], [], None, None)
    call.set_lineno(line)
    return call


class _Loop:
    """What a ``for`` walks; it looks at the clock at every item."""

    def __init__(self, items: Iterable[Any], deadline: float) -> None:
        self._items = items
        self._deadline = deadline

    def __len__(self) -> int:
        if not isinstance(self._items, Sized):
            self._items = list(self._items)
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            _check_deadline(self._deadline)
            yield item


class _Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        check_operator(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(self, context: jinja2.runtime.Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        _check_deadline(context.parent[_DEADLINE])
        method = getattr(function, "__wrapped__", function)  # the sandbox wraps str.format
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str):
            check_method(owner, method.__name__, (*args, *kwargs.values()))
        return super().call(context, function, *args, **kwargs)

    def bounded_loop(self, context: jinja2.runtime.Context, items: Iterable[Any]) -> _Loop:
        return _Loop(items, context.parent[_DEADLINE])

    def bounded_concat(self, context: jinja2.runtime.Context, parts: list[Any]) -> str:
        texts = [str(part) for part in parts]
        check_total(sum(map(len, texts)))
        return "".join(texts)


class _Dict:
    """``dict(...)`` in a template, without the class's other attributes."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)


def _environment(now: Callable[[], datetime.datetime]) -> _Environment:
    environment = _Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, jinja2.ext.loopcontrols]
    )
    for name in template_filters.REMOVED:
        environment.filters.pop(name)
    environment.filters |= template_filters.BOUNDED
    environment.globals.pop("lipsum")
    environment.globals |= {
        "raise_exception": _refuse,
        "strftime_now": lambda format: now().strftime(str(format)[:256]),
        "dict": _Dict(),
    }
    return environment


def _check_deadline(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise SecurityError("rendering takes too long")


def _check_tree(tree: jinja2.nodes.Template, where: str) -> None:
    for node in tree.find_all(_FORBIDDEN_NODES):
        raise ModelError(f"{where}: the chat template loads another template (line {node.lineno}); that is not allowed")
    names = [(node.lineno, node.attr) for node in tree.find_all(jinja2.nodes.Getattr)]
    names += [(node.lineno, node.name) for node in tree.find_all(jinja2.nodes.Name)]
    names += [(node.lineno, node.value) for node in tree.find_all(jinja2.nodes.Const) if isinstance(node.value, str)]
    for line, name in names:
        if name.startswith("__") and name.endswith("__") and name.strip("_"):
            raise ModelError(f"{where}: the chat template reaches for {name[:40]} (line {line}); that is not allowed")


def _refuse(message: object) -> None:
    raise TemplateRefusal(str(message)[:300])

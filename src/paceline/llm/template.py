"""Compiling a model folder's chat template so that it can render text and nothing else.

The template comes with the model and is not trusted: it runs in Jinja's immutable sandbox, sees plain data only,
cannot load other templates, cannot reach names with double underscores, and cannot make long strings or
large numbers in one operation.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import Any

import jinja2
import jinja2.exceptions
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox
import jinja2.utils

from paceline.errors import ModelError

MAX_TEMPLATE_CHARS = 2**20
MAX_OPERATION_CHARS = 2**20
MAX_FORMAT_WIDTH = 4

_FORBIDDEN_NODES = (jinja2.nodes.Import, jinja2.nodes.FromImport, jinja2.nodes.Include, jinja2.nodes.Extends)
_PADDING_METHODS = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})


class TemplateRefusal(jinja2.TemplateError):
    """The template itself refused the messages, by ``raise_exception``."""


class _GenerationBlock(jinja2.ext.Extension):
    """``{% generation %}`` marks what a model wrote, for training; here it renders as its body."""

    tags = {"generation"}  # noqa: RUF012  (Jinja's own declaration)

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node | list[jinja2.nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


class _Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and not (abs(left) <= 2**32 and abs(right) <= 64):
            raise jinja2.exceptions.SecurityError("power out of range")
        if operator == "*":
            _check_repeat(left, right)
        if operator == "%" and isinstance(left, str) and _has_wide_format(left):
            raise jinja2.exceptions.SecurityError("format too wide")
        return super().call_binop(context, operator, left, right)

    def call(self, context: jinja2.runtime.Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        name = getattr(function, "__name__", "")
        if name in _PADDING_METHODS and any(isinstance(arg, int) and arg > MAX_OPERATION_CHARS for arg in args):
            raise jinja2.exceptions.SecurityError("padding too wide")
        return super().call(context, function, *args, **kwargs)


class _Dict:
    """``dict(...)`` in a template, without the class's other attributes."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)


def compile_template(source: str, where: str, now: Callable[[], datetime.datetime]) -> jinja2.Template:
    """Compile ``source``, read from the file ``where``; ``now`` answers the template's ``strftime_now``.

    Raises ``ModelError`` for templates that do not parse or that reach for Python's internals or other files.
    """
    if len(source) > MAX_TEMPLATE_CHARS:
        raise ModelError(f"{where}: a chat template of {len(source)} characters; at most {MAX_TEMPLATE_CHARS}")
    environment = _Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, jinja2.ext.loopcontrols]
    )
    for name in ("center", "format", "wordwrap", "xmlattr", "urlize", "pprint"):
        environment.filters.pop(name)  # no template needs them, and some write long strings from short ones
    environment.filters["tojson"] = _to_json
    environment.globals.pop("lipsum")
    environment.globals |= {
        "raise_exception": _refuse,
        "strftime_now": lambda format: now().strftime(str(format)[:256]),
        "dict": _Dict(),
    }
    try:
        _check_tree(environment.parse(source), where)
        return environment.from_string(source)
    except (jinja2.TemplateError, jinja2.exceptions.SecurityError, RecursionError, MemoryError) as error:
        raise ModelError(f"{where}: the chat template does not compile ({str(error)[:160]})") from None


def _check_tree(tree: jinja2.nodes.Template, where: str) -> None:
    for node in tree.find_all(_FORBIDDEN_NODES):
        raise ModelError(f"{where}: the chat template loads another template (line {node.lineno}); that is not allowed")
    names = [(node.lineno, node.attr) for node in tree.find_all(jinja2.nodes.Getattr)]
    names += [(node.lineno, node.name) for node in tree.find_all(jinja2.nodes.Name)]
    names += [(node.lineno, node.value) for node in tree.find_all(jinja2.nodes.Const) if isinstance(node.value, str)]
    for line, name in names:
        if name.startswith("__") and name.endswith("__") and name.strip("_"):
            raise ModelError(f"{where}: the chat template reaches for {name[:40]} (line {line}); that is not allowed")


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without HTML escapes, unlike Jinja's own filter; what chat templates expect."""
    if indent is not None and indent > 16:
        raise jinja2.exceptions.SecurityError("indent too wide")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: object) -> None:
    raise TemplateRefusal(str(message)[:300])


def _check_repeat(left: Any, right: Any) -> None:
    for sequence, count in ((left, right), (right, left)):
        if isinstance(sequence, str | list | tuple) and isinstance(count, int):
            if len(sequence) * count > MAX_OPERATION_CHARS:
                raise jinja2.exceptions.SecurityError("repeated string too long")
            return
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > 4096:
        raise jinja2.exceptions.SecurityError("number too large")


def _has_wide_format(text: str) -> bool:
    """Whether a ``%`` format asks for a width of more than four digits or takes it from an argument."""
    digits = 0
    for char in text:
        digits = digits + 1 if char.isdigit() else 0
        if digits > MAX_FORMAT_WIDTH or char == "*":
            return True
    return False

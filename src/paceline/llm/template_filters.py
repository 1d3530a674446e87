"""Bounds on what one operation of a chat template may produce.

Each check computes how long the result would be before it is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import jinja2
import jinja2.filters
from jinja2.exceptions import SecurityError

MAX_OUTPUT_CHARS = 32 * 2**20
MAX_NUMBER_BITS = 4096
MAX_WIDTH = 10_000  # of a padded or formatted field

# No chat template needs them, and each can write a long text from a short one.
REMOVED = ("center", "format", "wordwrap", "xmlattr", "urlize", "pprint")


def check_total(length: int) -> None:
    """Refuse a text or list of ``length`` when that is too long."""
    if length > MAX_OUTPUT_CHARS:
        raise SecurityError("a text or list becomes too long")


def check_operator(operator: str, left: Any, right: Any) -> None:
    """Refuse ``left operator right`` when the result would be huge."""
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * max(right, 1) if operator == "**" else left.bit_length() + right.bit_length()
        if bits > MAX_NUMBER_BITS:
            raise SecurityError("a number becomes too large")
    elif operator == "+" and isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
        check_total(len(left) + len(right))
    elif operator == "*":
        sequence, count = (left, right) if isinstance(right, int) else (right, left)
        if isinstance(sequence, str | list | tuple) and isinstance(count, int):
            check_total(len(sequence) * count)
    elif operator == "%" and isinstance(left, str):
        _check_format(left, [right])


def check_method(owner: str, name: str, args: tuple[Any, ...]) -> None:
    """Refuse the call of a string method whose result would be huge."""
    if name in {"center", "ljust", "rjust", "zfill", "expandtabs"}:
        if any(isinstance(arg, int) and arg > MAX_WIDTH for arg in args):
            raise SecurityError("a field becomes too wide")
    elif name == "replace" and len(args) >= 2:
        _check_replace(owner, args[0], args[1])
    elif name == "join" and args and isinstance(args[0], list | tuple):
        _check_join(args[0], owner)
    elif name in {"format", "format_map", "translate"}:
        _check_format(owner, args)


def _check_replace(text: str, old: object, new: object) -> None:
    if isinstance(old, str) and isinstance(new, str):
        check_total(len(text) + text.count(old) * len(new))


def _check_join(items: list[Any] | tuple[Any, ...], separator: str) -> None:
    check_total(len(items) * len(separator) + sum(len(item) for item in items if isinstance(item, str)))


def _check_format(text: str, args: Iterable[Any]) -> None:
    """A format may repeat its arguments as often as it has fields, and pad each to any width."""
    digits = 0
    for char in text:
        digits = digits + 1 if char.isdigit() else 0
        if digits > 4 or char == "*":
            raise SecurityError("a field becomes too wide")
    fields = text.count("%") + text.count("{")
    longest = max((len(str(arg)) for arg in args), default=0)
    check_total(len(text) + fields * max(longest, MAX_WIDTH if fields > 1000 else 0))


def _replace(text: object, old: str, new: str, count: int | None = None) -> str:
    whole = str(text)
    _check_replace(whole, old, new)
    return whole.replace(str(old), str(new), -1 if count is None else count)


@jinja2.pass_eval_context
def _join(context: jinja2.nodes.EvalContext, items: Iterable[Any], d: str = "", attribute: str | None = None) -> str:
    values = list(items)
    picked = [value.get(attribute) for value in values if isinstance(value, dict)] if attribute else values
    _check_join(picked, d)
    return str(jinja2.filters.do_join(context, values, d, attribute))


def _indent(text: object, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    whole = str(text)
    size = width if isinstance(width, int) else len(width)
    check_total(len(whole) + (whole.count("\n") + 1) * size)
    return str(jinja2.filters.do_indent(whole, width, first, blank))


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without HTML escapes, unlike Jinja's own filter; what chat templates expect."""
    if indent is not None and indent > 16:
        raise SecurityError("a field becomes too wide")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


BOUNDED = {"replace": _replace, "join": _join, "indent": _indent, "tojson": _to_json}

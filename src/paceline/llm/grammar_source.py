"""From a request's grammar to the engine's source text: limits first, then translation, then plain errors.

What cannot be bounded by looking at the text (how large an automaton becomes) is tried out in a
process of its own, see ``grammar_probe``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import llguidance
import msgspec

from paceline.errors import InvalidRequest
from paceline.llm.request import MAX_CHOICES, MAX_GRAMMAR_BYTES, Grammar

MAX_DEPTH = 64

TOO_COMPLEX = "grammar is too complex: use fewer or simpler patterns, repetitions and alternatives"

# One whitespace run is bounded: a small model may otherwise write blanks until its tokens run out.
_JSON_OPTIONS: Any = {"whitespace_pattern": r"[\x20\x0A\x0D\x09]{1,8}", "coerce_one_of": True}
_DATA_KEYWORDS = ("const", "default", "enum", "examples")  # their values are data, not schemas
_MAX_NAMES = 5


def to_source(grammar: Grammar) -> str:
    """What the grammar engine compiles; raises InvalidRequest for what is broken or over a limit.

    >>> to_source(Grammar("choice", '["yes", "no"]'))
    'start: CHOICE\\nCHOICE: "yes" | "no"'
    """
    size = len(grammar.text.encode("utf-8", "surrogatepass"))
    if size > MAX_GRAMMAR_BYTES:
        raise refusal(f"grammar holds at most {MAX_GRAMMAR_BYTES} bytes, got {size}")
    return _TRANSLATIONS[grammar.kind](grammar.text)


def refusal(message: str) -> InvalidRequest:
    """The error for a grammar that cannot be used."""
    return InvalidRequest(message, param="grammar")


def explain(error: str) -> str:
    """A plain sentence for an error of the grammar engine, whose own text may hold a dump of its state.

    >>> explain('Unimplemented keys: ["not"]')
    'grammar uses schema keywords that are not supported: not'
    """
    if match := re.search(r"Unimplemented keys: (\[.*?\])", error):
        return f"grammar uses schema keywords that are not supported: {_names(match.group(1))}"
    for sign, sentence in _SENTENCES:
        if sign in error:
            return sentence
    return "grammar is not supported"


def _from_schema(text: str) -> str:
    schema = _parse(text, "a JSON schema")
    if not isinstance(schema, dict):
        raise refusal("grammar must be a JSON schema, that is a JSON object")
    if "x-guidance" in schema:
        raise refusal("grammar uses schema keywords that are not supported: x-guidance")
    _check_schema(schema)
    return _schema_source(text)


def _from_nothing(text: str) -> str:
    if text:
        raise refusal("grammar of kind json_object takes no text")
    return _schema_source('{"type": "object"}')


def _from_regex(text: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise refusal("grammar holds a lone surrogate, which no encoding of Unicode allows")
    return str(llguidance.LLMatcher.grammar_from_regex(text))


def _from_choices(text: str) -> str:
    choices = _parse(text, "a JSON list of strings")
    if not isinstance(choices, list) or not all(isinstance(choice, str) and choice for choice in choices):
        raise refusal("grammar of kind choice must be a JSON list of non-empty strings")
    if not 1 <= len(choices) <= MAX_CHOICES:
        raise refusal(f"grammar of kind choice holds 1 to {MAX_CHOICES} strings, got {len(choices)}")
    return "start: CHOICE\nCHOICE: " + " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices)


_TRANSLATIONS: dict[str, Callable[[str], str]] = {
    "json_schema": _from_schema,
    "json_object": _from_nothing,
    "regex": _from_regex,
    "choice": _from_choices,
}


def _schema_source(text: str) -> str:
    try:
        return str(llguidance.LLMatcher.grammar_from_json_schema(text, overrides=_JSON_OPTIONS))
    except ValueError as error:  # its JSON reader knows fewer numbers than ours
        raise refusal(explain(str(error))) from None


def _parse(text: str, what: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.DecodeError, UnicodeError):
        raise refusal(f"grammar is not {what}: the text is not valid JSON") from None


def _too_deep() -> InvalidRequest:
    return refusal(f"grammar nests deeper than {MAX_DEPTH} levels")


def _check_schema(schema: dict[str, Any]) -> None:
    for depth, value in _walk(schema):
        if depth > MAX_DEPTH:
            raise _too_deep()
        if not isinstance(value, dict):
            continue
        reference, values = value.get("$ref"), value.get("enum")
        if isinstance(reference, str) and not reference.startswith("#"):
            raise refusal("grammar refers to another document; only references that begin with # are followed")
        if isinstance(values, list) and len(values) > MAX_CHOICES:
            raise refusal(f"grammar lists {len(values)} values in an enum; at most {MAX_CHOICES} are allowed")


def _walk(schema: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    """Every value with its depth, but not what stands inside data."""
    waiting: list[tuple[int, Any]] = [(1, schema)]
    while waiting:
        depth, value = waiting.pop()
        yield depth, value
        if isinstance(value, dict):
            waiting += ((depth + 1, inner) for key, inner in value.items() if key not in _DATA_KEYWORDS)
        elif isinstance(value, list):
            waiting += ((depth + 1, inner) for inner in value)


def _names(listing: str) -> str:
    """Keywords from an error, which come from the caller's own schema: a few, and only plain ones."""
    names = [name for name in re.findall(r'"((?:[^"\\]|\\.)*)"', listing) if re.fullmatch(r"[$\w.-]{1,40}", name)]
    return ", ".join(names[:_MAX_NAMES]) or "an unknown one"


_SENTENCES = (
    ("look-around", "grammar uses look-around in a pattern, which is not supported"),
    ("backreferences", "grammar uses a backreference in a pattern, which is not supported"),
    ("invalid regex", "grammar holds a pattern that is not a valid regular expression"),
    ("failed to parse regex", "grammar holds a pattern that is not a valid regular expression"),
    ("regex parse error", "grammar holds a pattern that is not a valid regular expression"),
    ("Invalid type", "grammar names a type that JSON schema does not have"),
    ("not present in a registry", "grammar refers to another document; only references that begin with # are followed"),
    ("out of range", "grammar holds a number that is out of range"),
    ("Pointer", "grammar holds a $ref that points to nothing"),
    ("circular references", "grammar refers to itself in a way that is not supported"),
    ("not disjoint", "grammar has patternProperties that overlap"),
    ("NoExtension", "grammar allows no text at all"),
    ("Unsatisfiable", "grammar allows no text at all"),
    ("nsatisfiable", "grammar allows no text at all"),
    ("too many expressions", TOO_COMPLEX),
    ("too big", TOO_COMPLEX),
    ("too large", TOO_COMPLEX),
    ("too complex", TOO_COMPLEX),
    ("precomputation failed", TOO_COMPLEX),
    ("max is", TOO_COMPLEX),
    ("Unable to determine if regex is empty", TOO_COMPLEX),
    ("recursion limit", f"grammar nests deeper than {MAX_DEPTH} levels"),
)

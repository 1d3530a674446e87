"""The one constraint on the output that a request may ask for, in whichever of the APIs' spellings."""

from __future__ import annotations

from typing import Any

import msgspec

from paceline.errors import InvalidRequest
from paceline.llm.request import MAX_CHOICES, MAX_GRAMMAR_BYTES, Grammar
from paceline.server.body import free_form
from paceline.server.limits import Limits
from paceline.server.schema import JsonSchema, ResponseFormat, SamplingFields, StructuredOutputs


def grammar_of(body: SamplingFields, limits: Limits) -> Grammar | None:
    """What ``response_format``, ``guided_*`` or ``structured_outputs`` ask for; at most one of them may."""
    asked = [
        _response_format(body.response_format, limits),
        _structured_outputs(body.structured_outputs, limits),
        _schema(body.guided_json, "guided_json", limits),
        _regex(body.guided_regex, "guided_regex"),
        _choice(body.guided_choice, "guided_choice"),
    ]
    found = [grammar for grammar in asked if grammar is not None]
    if len(found) > 1:
        message = "ask for one of response_format, structured_outputs, guided_json, guided_regex and guided_choice"
        raise InvalidRequest(message, param="response_format")
    return found[0] if found else None


def _response_format(asked: ResponseFormat | None, limits: Limits) -> Grammar | None:
    match asked:
        case None | ResponseFormat(type="text"):
            return None
        case ResponseFormat(type="json_object"):
            return Grammar("json_object")
        case ResponseFormat(type="json_schema", json_schema=JsonSchema(schema=schema)) if schema:
            return _schema(schema, "response_format.json_schema.schema", limits)
        case ResponseFormat(type="json_schema"):
            raise InvalidRequest("json_schema.schema is required", param="response_format.json_schema.schema")
        case _:
            raise InvalidRequest("type must be text, json_object or json_schema", param="response_format.type")


def _structured_outputs(asked: StructuredOutputs | None, limits: Limits) -> Grammar | None:
    if asked is None:
        return None
    if asked.grammar is not None or asked.structural_tag is not None:
        message = "structured_outputs takes json, regex, choice or json_object"
        raise InvalidRequest(message, param="structured_outputs", code="unsupported_parameter")
    options = [
        _schema(asked.json, "structured_outputs.json", limits),
        _regex(asked.regex, "structured_outputs.regex"),
        _choice(asked.choice, "structured_outputs.choice"),
        Grammar("json_object") if asked.json_object else None,
    ]
    found = [grammar for grammar in options if grammar is not None]
    if len(found) != 1:
        raise InvalidRequest("give exactly one of json, regex, choice and json_object", param="structured_outputs")
    return found[0]


def _schema(raw: msgspec.Raw, param: str, limits: Limits) -> Grammar | None:
    schema = free_form(raw, param, limits)
    if isinstance(schema, str):  # vLLM takes the schema as text too
        schema = _parse(schema, param, limits)
    if schema is None:
        return None
    return schema_grammar(schema, param)


def _parse(text: str, param: str, limits: Limits) -> Any:
    try:
        return free_form(msgspec.Raw(text.encode()), param, limits)
    except msgspec.DecodeError:
        raise InvalidRequest("the schema is not valid JSON", param=param) from None


def schema_grammar(schema: Any, param: str) -> Grammar:
    """``schema`` as a grammar, if it is an object within the bounds and refers to nothing outside itself."""
    if not isinstance(schema, dict):
        raise InvalidRequest("a JSON schema is an object", param=param, code="invalid_type")
    _check_schema(schema, param)
    return Grammar("json_schema", msgspec.json.encode(schema).decode())


def _check_schema(node: Any, param: str) -> None:
    if isinstance(node, list):
        for item in node:
            _check_schema(item, param)
    elif isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str) and not reference.startswith("#"):
            raise InvalidRequest("$ref must stay inside the schema (#...)", param=param, code="remote_reference")
        values = node.get("enum")
        if isinstance(values, list) and len(values) > MAX_CHOICES:
            raise InvalidRequest(f"an enum may hold {MAX_CHOICES} values, got {len(values)}", param=param)
        for item in node.values():
            _check_schema(item, param)


def _regex(pattern: str | None, param: str) -> Grammar | None:
    if pattern is None:
        return None
    if not 0 < len(pattern.encode()) <= MAX_GRAMMAR_BYTES:
        raise InvalidRequest(f"{param} needs 1 to {MAX_GRAMMAR_BYTES} bytes", param=param)
    return Grammar("regex", pattern)


def _choice(choices: list[str] | None, param: str) -> Grammar | None:
    if choices is None:
        return None
    if not 0 < len(choices) <= MAX_CHOICES or not all(choices):
        raise InvalidRequest(f"{param} needs 1 to {MAX_CHOICES} texts, none of them empty", param=param)
    text = msgspec.json.encode(choices).decode()
    if len(text) > MAX_GRAMMAR_BYTES:
        raise InvalidRequest(f"{param} may hold {MAX_GRAMMAR_BYTES} bytes", param=param)
    return Grammar("choice", text)

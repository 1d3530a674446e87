"""Limits that hold before a grammar is compiled, and errors in plain words."""

from __future__ import annotations

import pytest

from paceline.errors import InvalidRequest
from paceline.llm.grammar_source import MAX_DEPTH, explain, to_source
from paceline.llm.request import MAX_CHOICES, MAX_GRAMMAR_BYTES, Grammar
from tests.llm.grammars import choice, schema


def test_limits_are_inclusive() -> None:
    to_source(Grammar("regex", "a" * MAX_GRAMMAR_BYTES))
    to_source(choice(*map(str, range(MAX_CHOICES))))
    to_source(schema({"enum": list(range(MAX_CHOICES))}))
    to_source(Grammar("json_schema", '{"items":' * (MAX_DEPTH - 1) + "{}" + "}" * (MAX_DEPTH - 1)))
    with pytest.raises(InvalidRequest, match=f"at most {MAX_GRAMMAR_BYTES} bytes"):
        to_source(Grammar("regex", "é" * (MAX_GRAMMAR_BYTES // 2 + 1)))


def test_data_in_a_schema_is_not_read_as_schema() -> None:
    for keyword in ("const", "default"):
        to_source(schema({keyword: {"$ref": "http://data.example", "enum": list(range(5000))}}))
    for keyword in ("enum", "examples"):
        to_source(schema({keyword: [{"$ref": "http://data.example"}]}))


def test_properties_may_have_the_names_of_keywords() -> None:
    to_source(schema({"properties": {"$ref": {"type": "string"}, "enum": {"type": "string"}}}))


def test_errors_hold_nothing_of_the_engine() -> None:
    dump = 'Parser Error: token "x"\n<state>\nlexeme_set: {0: 0x7ffd}\n</state>'
    assert explain(dump) == "grammar is not supported"
    assert explain('Unimplemented keys: ["a\\nb", "<script>", "$dynamicRef"]').endswith("not supported: $dynamicRef")

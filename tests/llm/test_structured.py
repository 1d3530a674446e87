"""Structured output: only what the grammar allows, and hostile grammars end as plain refusals."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from paceline.errors import InvalidRequest
from paceline.llm.grammar_probe import GrammarProbe, Verdict
from paceline.llm.request import MAX_CHOICES, MAX_GRAMMAR_BYTES, Grammar
from paceline.llm.structured import GrammarCompiler, Matcher
from tests.llm.grammars import EOS, TOKENIZER, TokenizerFile, V, choice, schema

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def compiler() -> Iterator[GrammarCompiler]:
    made = GrammarCompiler(TokenizerFile(), V, EOS)
    yield made
    made.close()


def ids(text: str) -> list[int]:
    return list(TOKENIZER.encode(text, add_special_tokens=False).ids)


def allowed(matcher: Matcher, *drafts: int) -> set[int]:
    return set(np.flatnonzero(matcher.mask(drafts)).tolist())


def follow(matcher: Matcher, text: str) -> Matcher:
    assert all(matcher.advance(token) for token in ids(text))
    return matcher


def refused(compiler: GrammarCompiler, grammar: Grammar) -> str:
    with pytest.raises(InvalidRequest) as caught:
        compiler.compile(grammar)
    assert caught.value.param == "grammar"
    return str(caught.value)


def random_text(matcher: Matcher, seed: int, num_tokens: int = 400) -> str:
    """What an untrained model would write."""
    chance, written = random.Random(seed), []
    for _ in range(num_tokens):
        token = chance.choice(sorted(allowed(matcher)))
        assert matcher.advance(token)
        if token in EOS:
            return TOKENIZER.decode(written)
        written.append(token)
    raise AssertionError("the text did not end")


# ── following a grammar ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(10))
def test_any_path_through_a_schema_is_a_value_of_it(compiler: GrammarCompiler, seed: int) -> None:
    person = json.loads(random_text(compiler.compile(schema(PERSON)), seed))
    assert person.keys() == {"name", "age", "tags"}
    assert len(person["name"]) <= 8
    assert 0 <= person["age"] <= 150
    assert set(person["tags"]) <= {"a", "b"}


def test_any_path_through_a_regex_matches_it(compiler: GrammarCompiler) -> None:
    pattern = r"(ab|c/d)+[0-9]{2,4}é?"
    for seed in range(10):
        assert re.fullmatch(pattern, random_text(compiler.compile(Grammar("regex", pattern)), seed))


def test_json_object_is_any_object(compiler: GrammarCompiler) -> None:
    text = '{"a": [1, null, {"b": "é\\n"}]}'
    matcher = follow(compiler.compile(Grammar("json_object")), text)
    assert matcher.is_finished
    assert not compiler.compile(Grammar("json_object")).advance(ids("[")[0])


def test_choices_are_the_only_texts(compiler: GrammarCompiler) -> None:
    choices = ["yes", "yes please", "no", '日本 "\\ \n', "/*"]
    texts = {random_text(compiler.compile(choice(*choices)), seed) for seed in range(60)}
    assert texts == set(choices)


def test_a_choice_that_begins_another_may_end_or_go_on(compiler: GrammarCompiler) -> None:
    matcher = follow(compiler.compile(choice("yes", "yes please")), "yes")
    assert not matcher.is_finished
    assert set(EOS) < allowed(matcher)


def test_a_finished_grammar_allows_only_the_end(compiler: GrammarCompiler) -> None:
    matcher = follow(compiler.compile(choice("yes")), "yes")
    assert matcher.is_finished
    assert allowed(matcher) == set(EOS)
    assert matcher.advance(EOS[0])
    assert allowed(matcher) == set(EOS)


def test_blanks_between_json_values_are_bounded(compiler: GrammarCompiler) -> None:
    matcher = follow(compiler.compile(schema(PERSON)), "{")
    blank = ids(" ")[0]
    assert sum(matcher.advance(blank) for _ in range(100)) == 8


def test_drafts_are_looked_at_without_moving(compiler: GrammarCompiler) -> None:
    matcher = follow(compiler.compile(schema(PERSON)), '{"name": "')
    here, drafts = allowed(matcher), ids('a", "age": 1')
    for length in range(1, len(drafts) + 1):
        ahead = matcher.copy()
        assert all(ahead.advance(token) for token in drafts[:length])
        assert allowed(matcher, *drafts[:length]) == allowed(ahead)
        assert allowed(matcher) == here


def test_nothing_follows_a_forbidden_draft(compiler: GrammarCompiler) -> None:
    matcher = compiler.compile(choice("abab"))
    a, b = ids("a")[0], ids("b")[0]
    assert allowed(matcher, b) == allowed(matcher, a, a) == allowed(matcher, a, b, b) == set()
    assert not matcher.failed
    assert a in allowed(matcher)
    done = follow(matcher.copy(), "abab")
    assert allowed(done, EOS[0]) == set(EOS)
    assert allowed(done, a) == set()


def test_rollback_returns_to_the_same_masks(compiler: GrammarCompiler) -> None:
    matcher = compiler.compile(schema(PERSON))
    masks = []
    tokens = [*ids('{"name": "x", "age": 12, "tags": ["a"]}'), EOS[0]]
    for token in tokens:
        masks.append(allowed(matcher))
        assert matcher.advance(token)
    for num_back in range(1, len(tokens) + 1):
        matcher.rollback(1)
        assert allowed(matcher) == masks[-num_back]


def test_a_forbidden_token_fails_its_matcher_alone(compiler: GrammarCompiler) -> None:
    broken, healthy = compiler.compile(choice("abc")), compiler.compile(choice("abc"))
    before = allowed(healthy)
    assert not broken.advance(ids("x")[0])
    assert broken.failed
    assert not broken.is_finished
    assert allowed(broken) == allowed(broken, ids("a")[0]) == set()
    assert allowed(healthy) == before
    assert follow(healthy, "abc").is_finished


def test_masks_have_the_size_of_the_model(compiler: GrammarCompiler) -> None:
    assert TOKENIZER.get_vocab_size() < V
    assert compiler.compile(Grammar("regex", "(?s:.)*")).mask().shape == (V,)
    small = GrammarCompiler(TokenizerFile(), 200, EOS)
    assert small.compile(choice("yes")).mask().shape == (200,)


# ── broken grammars ──────────────────────────────────────────────────────────────────────────────

BROKEN = {
    "not json": (Grammar("json_schema", "{"), "grammar is not a JSON schema: the text is not valid JSON"),
    "lone surrogate": (Grammar("json_schema", '{"a": "\\ud800"}'), "grammar is not a JSON schema"),
    "not an object": (Grammar("json_schema", "[1]"), "must be a JSON schema, that is a JSON object"),
    "unknown type": (schema({"type": "objekt"}), "a type that JSON schema does not have"),
    "unknown keyword": (schema({"not": {}}), "not supported: not"),
    "engine options": (schema({"x-guidance": {"lenient": True}}), "not supported: x-guidance"),
    "no such definition": (schema({"$ref": "#/$defs/a"}), "a $ref that points to nothing"),
    "remote reference": (schema({"items": {"$ref": "http://169.254.169.254/"}}), "refers to another document"),
    "remote dialect": (schema({"$schema": "http://169.254.169.254/"}), "refers to another document"),
    "file reference": (schema({"$ref": "file:///etc/passwd"}), "refers to another document"),
    "huge number": (Grammar("json_schema", f'{{"minimum": 1{"0" * 4000}}}'), "a number that is out of range"),
    "object with text": (Grammar("json_object", "{}"), "takes no text"),
    "open group": (Grammar("regex", "(a"), "not a valid regular expression"),
    "look-ahead": (Grammar("regex", "(?=a)b"), "look-around"),
    "backreference": (Grammar("regex", r"(a)\1"), "backreference"),
    "surrogate in regex": (Grammar("regex", "\ud800"), "lone surrogate"),
    "choices no list": (Grammar("choice", '"yes"'), "a JSON list of non-empty strings"),
    "empty choice": (choice("yes", ""), "a JSON list of non-empty strings"),
    "number as choice": (Grammar("choice", "[1]"), "a JSON list of non-empty strings"),
    "no choices": (choice(), f"1 to {MAX_CHOICES} strings, got 0"),
    "many choices": (choice(*map(str, range(5000))), f"1 to {MAX_CHOICES} strings, got 5000"),
    "many values": (schema({"enum": list(range(5000))}), f"5000 values in an enum; at most {MAX_CHOICES}"),
    "200k values": (schema({"enum": list(range(200_000))}), f"at most {MAX_GRAMMAR_BYTES} bytes"),
    "3000 levels": (Grammar("json_schema", '{"items":' * 3000 + "{}" + "}" * 3000), "nests deeper than 64 levels"),
    "65 levels": (Grammar("json_schema", '{"items":' * 64 + "{}" + "}" * 64), "nests deeper than 64 levels"),
    "only itself": (schema({"$ref": "#"}), "allows no text at all"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_grammars_are_refused_in_plain_words(compiler: GrammarCompiler, name: str) -> None:
    grammar, message = BROKEN[name]
    assert message in refused(compiler, grammar)


def test_ordinary_depth_and_size_pass(compiler: GrammarCompiler) -> None:
    chain = {f"a{i}": {"type": "array", "items": {"$ref": f"#/$defs/a{i + 1}"}} for i in range(50)}
    compiler.compile(schema({"$defs": chain | {"a50": {"type": "string"}}, "$ref": "#/$defs/a0"}))
    compiler.compile(schema({"enum": [f"value {i}" for i in range(MAX_CHOICES)]}))
    compiler.compile(choice(*(f"{i} text" for i in range(MAX_CHOICES))))
    compiler.compile(schema({"enum": [{"$ref": "http://data.example"}]}))


# ── the compiler and its child ───────────────────────────────────────────────────────────────────


def test_grammars_and_refusals_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def check(self: GrammarProbe, source: str) -> Verdict:
        asked.append(source)
        return Verdict("too big" if "bad" in source else None)

    monkeypatch.setattr(GrammarProbe, "check", check)
    compiler = GrammarCompiler(TokenizerFile(), V, EOS)
    for _ in range(3):
        compiler.compile(Grammar("regex", "good"))
        refused(compiler, Grammar("regex", "bad"))
    assert len(asked) == 2
    compiler.forget(Grammar("regex", "good"))
    compiler.compile(Grammar("regex", "good"))
    assert len(asked) == 3


def test_memory_of_kept_grammars_is_bounded() -> None:
    compiler = GrammarCompiler(TokenizerFile(), V, EOS, cache_bytes=4 * 2**20)
    for index in range(40):
        compiler.compile(choice(f"text {index}"))
        refused(compiler, Grammar("choice", f"[{index}]"))
        assert 0 < compiler.num_bytes <= 4 * 2**20
    assert len(compiler._kept) < 40
    for grammar in list(compiler._kept):
        compiler.forget(Grammar(*grammar))  # type: ignore[arg-type]
    assert compiler.num_bytes == 0


def test_several_threads_may_compile(compiler: GrammarCompiler) -> None:
    grammars = [Grammar("regex", f"x{i % 5}y") for i in range(20)]
    with ThreadPoolExecutor(4) as threads:
        for index, matcher in enumerate(threads.map(compiler.compile, grammars)):
            assert follow(matcher, f"x{index % 5}y").is_finished


def test_a_tokenizer_without_byte_spelling_is_refused() -> None:
    class Other:
        def to_json(self) -> str:
            return "{}"

    compiler = GrammarCompiler(Other(), V, EOS)
    assert refused(compiler, choice("a")) == "this model's tokenizer does not allow structured output"

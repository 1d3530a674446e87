"""The process that tries grammars out: it dies in place of the engine."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from paceline.errors import InvalidRequest, NotReady
from paceline.llm import grammar_probe
from paceline.llm.grammar_probe import GrammarProbe, Verdict, examine, make_tokenizer
from paceline.llm.grammar_source import TOO_COMPLEX, to_source
from paceline.llm.request import Grammar
from paceline.llm.structured import GrammarCompiler
from tests.llm.grammars import EOS, TOKENIZER, TokenizerFile, V, schema


@pytest.fixture
def probe() -> Iterator[GrammarProbe]:
    made = GrammarProbe(TOKENIZER.to_str(), V, EOS)
    yield made
    made.close()


def regex(pattern: str) -> str:
    return to_source(Grammar("regex", pattern))


def test_examination_walks_into_the_grammar() -> None:
    tokenizer = make_tokenizer(TOKENIZER.to_str(), V, EOS)
    assert examine(tokenizer, to_source(schema({"type": "object"}))).error is None
    assert "unclosed group" in (examine(tokenizer, regex("(a")).error or "")
    assert "NoExtension" in (examine(tokenizer, to_source(schema({"$ref": "#"}))).error or "")


def test_a_tokenizer_may_have_more_ids_than_the_model() -> None:
    assert make_tokenizer(TOKENIZER.to_str(), 100, EOS).vocab_size == TOKENIZER.get_vocab_size()


def test_the_child_answers_after_it_was_killed(probe: GrammarProbe) -> None:
    assert probe.check(regex("a")).error is None
    child = probe._child
    assert child is not None
    os.kill(child._process.pid, signal.SIGKILL)
    child._process.wait()
    assert probe.check(regex("b")).error is None
    assert probe._child is not child


@pytest.mark.timeout(30)
def test_a_grammar_that_would_kill_is_too_complex(probe: GrammarProbe) -> None:
    assert probe.check(regex("a")).error is None
    child = probe._child
    assert probe.check(to_source(schema({"type": "integer", "multipleOf": 9999991}))) == Verdict(TOO_COMPLEX)
    assert probe.check(regex("b")).error is None
    assert probe._child is child


def test_the_child_goes_with_its_probe() -> None:
    probe = GrammarProbe(TOKENIZER.to_str(), V, EOS)
    probe.check(regex("a"))
    child = probe._child
    assert child is not None
    probe.close()
    assert child.exited


def test_no_process_is_a_reason_to_come_back(probe: GrammarProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar_probe.sys, "executable", "/nowhere/python")
    with pytest.raises(NotReady, match="cannot start"):
        probe.check(regex("a"))


# ── with the compiler ────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def compiler() -> Iterator[GrammarCompiler]:
    made = GrammarCompiler(TokenizerFile(), V, EOS)
    yield made
    made.close()


HOSTILE = {
    "nested repetition": Grammar("regex", "(a+)+$"),
    "huge repetition": Grammar("regex", "a{100000000}"),
    "repetition of repetitions": Grammar("regex", "(a{1000}){1000}"),
    "optional run": Grammar("regex", "a?" * 30_000),
    "long gaps": Grammar("regex", ".*a.{40}.*b.{40}.*c.{40}d"),
    "many alternatives": Grammar("regex", "|".join(f"[a-z]{{{i}}}{i}" for i in range(1, 2000))),
    "intersection": schema({"allOf": [{"type": "string", "pattern": f".*a.{{{i}}}b.*"} for i in range(40)]}),
    "multiple": schema({"type": "integer", "multipleOf": 9999991}),
    "deep references": schema(
        {
            "$defs": {f"a{i}": {"type": "array", "items": {"$ref": f"#/$defs/a{i + 1}"}} for i in range(1000)}
            | {"a1000": {"type": "string"}},
            "$ref": "#/$defs/a0",
        }
    ),
    "doubling references": schema(
        {
            "$defs": {f"a{i}": {"anyOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(700)} | {"a700": {}},
            "$ref": "#/$defs/a0",
        }
    ),
    "every property optional": schema({"type": "object", "properties": {f"k{i}": {} for i in range(3000)}}),
}


@pytest.mark.timeout(30)  # each takes a second or less on a machine that is not busy
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_grammars_neither_hang_nor_kill(compiler: GrammarCompiler, name: str) -> None:
    with suppress(InvalidRequest):  # some are harmless
        assert compiler.compile(HOSTILE[name]).mask().any()
    assert compiler.compile(schema({"type": "integer"})).mask().any()


def test_some_hostile_grammars_must_be_refused(compiler: GrammarCompiler) -> None:
    for name in ("intersection", "multiple", "deep references", "huge repetition"):
        with pytest.raises(InvalidRequest, match=TOO_COMPLEX):
            compiler.compile(HOSTILE[name])

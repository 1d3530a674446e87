"""Templates that try to do more than render: refused at load or at rendering, with nothing internal in the text."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from paceline.errors import InvalidRequest, ModelError
from paceline.llm import template as module
from paceline.llm.chat import ChatTemplate
from paceline.llm.template import Template
from paceline.llm.tokenizer import Tokenizer
from tests.llm.folders import tiny_tokenizer


def noon() -> datetime.datetime:
    return datetime.datetime(2026, 7, 5, 12)


def render(source: str, **values: Any) -> str:
    return "".join(Template(source, "file.jinja", noon).generate(values))


def chat_render(source: str) -> str:
    chat = ChatTemplate({"default": source}, Tokenizer(tiny_tokenizer()), {})
    return chat.render([{"role": "user", "content": "hi"}])


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__ }}",
        "{{ ''['__class__'] }}",
        "{{ '' | attr('__class__') }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ messages.__len__ }}",
        "{% set __deadline__ = 1 %}",
        "{% import 'os' as os %}",
        "{% from 'x' import y %}",
        "{% include '/etc/passwd' %}",
        "{% extends 'x' %}",
        "{{ unclosed",
        "{{ x | nosuchfilter }}",
        "{% for %}",
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    ],
)
def test_refused_at_load(source: str) -> None:
    with pytest.raises(ModelError, match=r"file\.jinja: the chat template"):
        Template(source, "file.jinja", noon)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''['__cla' ~ 'ss__'].mro }}",
        "{{ ('' | attr('__cla' ~ 'ss__')).mro() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'x': 1}) }}",
        "{{ raise_exception.func_globals.x }}",
        "{{ 'a' * 500000000 }}",
        "{{ 500000000 * 'a' }}",
        "{{ [1] * 500000000 }}",
        "{{ 9 ** 99999 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%*d' % (99999999, 1) }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ 'a'.ljust(999999999) }}",
        "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set x = 'a' * 1000000 %}{{ x | replace('a', x) }}",
        "{% set x = 'a' * 1000000 %}{{ x.replace('a', x) }}",
        "{% set x = 'a' * 1000000 %}{{ ([x] * 1000000) | join }}",
        "{% set x = 'a' * 1000000 %}{{ x.join(['b'] * 1000000) }}",
        "{% set x = '\\n' * 1000000 %}{{ x | indent(1000000) }}",
        "{{ messages | tojson(indent=1000000) }}",
        "{% for i in range(999999999) %}{% endfor %}",
        "{{ undefined_name.x }}",
        "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
        "{% for i in range(90000) %}{{ 'a' * 30000 }}{% endfor %}",
    ],
)
def test_refused_at_rendering(source: str) -> None:
    with pytest.raises(InvalidRequest) as failure:
        chat_render(source)
    assert failure.value.param == "messages"
    assert "chat template" in str(failure.value) or "rendered prompt" in str(failure.value)
    assert "class" not in str(failure.value)


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    ],
)
def test_endless_work_ends_at_the_deadline(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RENDER_S", 0.05)
    with pytest.raises(InvalidRequest, match="cannot render"):
        chat_render(source)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{% for m in x %}{{ loop.index }}{{ loop.last }}{{ loop.length }} {% endfor %}", "1False2 2True2 "),
        ("{% for a in x if a > 3 %}{{ a }}{% else %}none{% endfor %}", "4"),
        ("{% for a in x %}{% if loop.first %}{% continue %}{% endif %}{{ a }}{% break %}{% endfor %}", "4"),
        ("{% for k, v in {'a': 1}.items() %}{{ k ~ v ~ none }}{% endfor %}", "a1None"),
        ("{% for a in nothing %}{% endfor %}x", "x"),
        ("{% for a in x[::-1] recursive %}{{ a }}{% endfor %}", "43"),
        ("{{ {'b': '<é>', 'a': 1} | tojson }}", '{"b": "<é>", "a": 1}'),
        ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
        ("{{ ['a', 'b'] | join(', ') }}{{ x | map('string') | join }}", "a, b34"),
        ("{{ 'a\nb' | indent(2) }}{{ 'aXb' | replace('X', '-') }}", "a\n  ba-b"),
        ("{{ strftime_now('%d %B %Y') }}", "05 July 2026"),
        ("{% generation %}{{ x[0] }}{% endgeneration %}", "3"),
        ("{% set ns = namespace(a=1) %}{% set ns.a = ns.a + 2 %}{{ ns.a * 2 }}{{ 'ab' * 2 }}{{ '%s-%02d' % ('a', 3) }}", "6ababa-03"),
        ("{{ dict(a=1).a }}{{ 'x'.join(['a', 'b']) }}{{ 'abc'.replace('b', '') }}{{ '{}!'.format(1) }}", "1axbac1!"),
        ("{%- if true %}\n  a\n{%- endif %}\n", "  a"),
    ],
)  # fmt: skip
def test_what_templates_need_works(source: str, expected: str) -> None:
    assert render(source, x=[3, 4]) == expected

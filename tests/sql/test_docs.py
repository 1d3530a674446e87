"""What docs/sql.md shows can be typed as it stands, and it leaves nothing out."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest

from paceline.sql import Connection, connect
from paceline.sql.call import KINDS, Options
from paceline.sql.clients.endpoint import EndpointModel
from paceline.sql.engines import ENGINES
from paceline.sql.store import MAX_AGE_S, MAX_BYTES

DOCS = (Path(__file__).parents[2] / "docs" / "sql.md").read_text()
[EXAMPLE] = re.findall(r"```python\n(.*?)```", DOCS, re.S)
[EXPLAINED] = re.findall(r"```text\n(.*?)```", DOCS, re.S)


def test_the_example_prints_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(EXAMPLE, "sql.md", "exec"), {})
    assert capsys.readouterr().out == EXPLAINED


def test_every_function_is_described() -> None:
    for name in KINDS:
        assert f"| `{name}(prompt, " in DOCS, name


@pytest.mark.parametrize("option", [option.name for option in fields(Options)])
def test_every_option_of_a_call_is_described(option: str) -> None:
    assert f"| `{option}` |" in DOCS


def test_limits_of_answers_are_those_of_the_functions() -> None:
    [line] = [line for line in DOCS.splitlines() if line.startswith("| `max_tokens` |")]
    told = {
        name: int(number) for names, number in re.findall(r"([\w ]+?) (\d+)", line) for name in names.split(" and ")
    }
    assert {name.strip(): number for name, number in told.items()} == {n: kind.max_tokens for n, kind in KINDS.items()}


@pytest.mark.parametrize("name", inspect.signature(connect).parameters)
def test_every_argument_of_a_connection_is_described(name: str) -> None:
    assert re.search(rf"`{name}`|{name}=", DOCS)


@pytest.mark.parametrize("name", [name for name in vars(Connection) if not name.startswith("_")])
def test_every_method_of_a_connection_is_described(name: str) -> None:
    assert f"`con.{name}(" in DOCS
    for argument in inspect.signature(getattr(Connection, name)).parameters:
        assert argument == "self" or re.search(rf"\b{argument}\b", DOCS), argument


def test_every_engine_is_described() -> None:
    for name in ENGINES:
        assert f'"{name}"' in DOCS, name


def test_limits_of_what_is_kept_are_true() -> None:
    assert f"{MAX_BYTES / 2**30:g} GiB and {MAX_AGE_S / 86400:g} days" in DOCS


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)", DOCS):
        assert (Path(__file__).parents[2] / "docs" / target).exists(), target


def test_the_variable_of_the_key_is_the_one_that_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "`OPENAI_API_KEY`" in DOCS
    monkeypatch.setenv("OPENAI_API_KEY", "ungültig")
    with pytest.raises(Exception, match="API key"):
        EndpointModel("http://localhost", "m")

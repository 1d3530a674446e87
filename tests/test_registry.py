"""Names lead to choices; wrong ones to a helpful error."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from paceline import registry
from paceline.errors import ConfigError
from paceline.registry import Registry


@pytest.fixture
def codecs() -> Registry[object]:
    choices = Registry[object]("test codec")
    choices.register("plain", str)
    choices.register_lazy("json", "json:JSONDecoder")
    return choices


def test_lazy_choices_are_imported_on_first_use(codecs: Registry[object]) -> None:
    import json

    assert codecs["json"] is json.JSONDecoder
    assert codecs["json"] is codecs["json"]
    assert codecs["plain"] is str


def test_names_are_sorted_and_counted(codecs: Registry[object]) -> None:
    assert list(codecs) == ["json", "plain"]
    assert len(codecs) == 2
    assert "json" in codecs
    assert "yaml" not in codecs


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plian", "unknown test codec 'plian'; did you mean 'plain'\\? known: json, plain"),
        ("zzzzzz", "unknown test codec 'zzzzzz'; known: json, plain"),
    ],
)
def test_an_unknown_name_lists_the_known(codecs: Registry[object], name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        codecs[name]


@pytest.mark.parametrize("target", ["no_such_module_here:x", "json:no_such_name"])
def test_a_choice_that_cannot_be_imported_says_so(codecs: Registry[object], target: str) -> None:
    codecs.register_lazy("broken", target)
    with pytest.raises(ConfigError, match="test codec 'broken' cannot be loaded"):
        codecs["broken"]


def test_a_name_is_given_once(codecs: Registry[object]) -> None:
    with pytest.raises(ConfigError, match="already registered"):
        codecs.register("json", int)
    with pytest.raises(ConfigError, match="already registered"):
        codecs.register_lazy("plain", "json:loads")


def test_installed_packages_add_choices(codecs: Registry[object], monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="url", value="urllib.parse:quote", group="paceline.test_codec")

    def found(*, group: str) -> EntryPoints:
        return EntryPoints([point]).select(group=group)

    monkeypatch.setattr(registry, "entry_points", found)
    import urllib.parse

    assert codecs["url"] is urllib.parse.quote
    assert list(codecs) == ["json", "plain", "url"]

"""Help and documents of ``paceline adapt``: every option is there, and reads well on 80 columns."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from paceline.cli.adapt import COMMANDS, OTHER_NAMES, adapt
from paceline.cli.adapt_train import train
from paceline.transfer.fit.options import FitOptions
from tests.cli.adapting import run


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PACELINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")


def name_of(command: Callable[..., None]) -> str:
    return command.__name__.removesuffix("_")


def options_of(command: Callable[..., None]) -> dict[str, Any]:
    """Options of its own by their parameters; arguments, and those that all commands have, are left out."""
    hints = get_type_hints(command, include_extras=True)
    return {
        name: hints[name].__metadata__[0]
        for name in inspect.signature(command).parameters
        if type(hints[name].__metadata__[0]).__name__ == "OptionInfo" and name not in ("quiet", "as_json", "debug")
    }


def test_every_command_is_there() -> None:
    assert [name_of(command) for command in COMMANDS] == [info.name for info in adapt.registered_commands]


def names_of(option: Any) -> list[str]:
    return [option.default, *option.param_decls]


@pytest.mark.parametrize("command", COMMANDS, ids=name_of)
def test_every_command_explains_itself(command: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name_of(command), "--help") == 0
    told = capsys.readouterr().out
    assert f"Usage: paceline adapt {name_of(command)}" in told
    assert f"Example: paceline adapt {name_of(command)}" in told
    assert max(map(len, told.splitlines())) <= 80
    assert "…" not in told
    assert "[default: ()]" not in told
    for option in options_of(command).values():
        assert all(name in told for name in names_of(option))


@pytest.mark.parametrize("command", COMMANDS, ids=name_of)
def test_every_option_is_documented(command: Callable[..., None]) -> None:
    document = Path("docs/cli.md").read_text()
    section = document[document.index("## Options of `paceline adapt`") :]
    for option in options_of(command).values():
        assert all(f"`{name}`" in section for name in names_of(option)), names_of(option)
    assert f"`paceline adapt {name_of(command)}" in document


def test_defaults_are_those_of_the_training() -> None:
    own = {name: OTHER_NAMES.get(name, f"--{name.replace('_', '-')}") for name in FitOptions.__struct_fields__}
    declared = {names_of(option)[0]: name for name, option in options_of(train).items()}
    for field, option in own.items():
        if option in declared:
            assert inspect.signature(train).parameters[declared[option]].default == getattr(FitOptions(), field), field

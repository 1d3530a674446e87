from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest

from paceline.errors import ConfigError, ModelError, ResourceError
from paceline.transfer.journal import Journal


class Result(msgspec.Struct, frozen=True):
    name: str
    value: float


def opened(path: Path, **identity: object) -> Journal[Result]:
    return Journal(path, {"pictures": "abc", **identity}, Result)


def test_what_was_added_is_read_again(tmp_path: Path) -> None:
    journal = opened(tmp_path / "j")
    journal.add(Result("one", 1.0))
    opened(tmp_path / "j").add(Result("two", 2.0))
    assert opened(tmp_path / "j").read() == [Result("one", 1.0), Result("two", 2.0)]


def test_a_line_cut_short_is_dropped(tmp_path: Path) -> None:
    opened(tmp_path / "j").add(Result("one", 1.0))
    with (tmp_path / "j").open("ab") as file:
        file.write(b'{"name":"tw')
    journal = opened(tmp_path / "j")
    journal.add(Result("three", 3.0))
    assert journal.read() == [Result("one", 1.0), Result("three", 3.0)]


def test_of_something_else(tmp_path: Path) -> None:
    opened(tmp_path / "j", epochs=1)
    with pytest.raises(ConfigError, match="epochs is 2, was 1"):
        opened(tmp_path / "j", epochs=2)
    with pytest.raises(ConfigError, match="flip is True, was None"):
        opened(tmp_path / "j", epochs=1, flip=True)


@pytest.mark.parametrize("text", ["", "no json\n", "[1]\n"])
def test_no_journal(tmp_path: Path, text: str) -> None:
    (tmp_path / "j").write_text(text)
    with pytest.raises(ModelError, match="not a journal"):
        opened(tmp_path / "j")


def test_an_odd_line_is_named(tmp_path: Path) -> None:
    journal = opened(tmp_path / "j")
    with (tmp_path / "j").open("ab") as file:
        file.write(b'{"name":1}\n')
    with pytest.raises(ModelError, match="line 2"):
        journal.read()


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(tmp_path / "j")

    def full(_: int) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="No space left"):
        journal.add(Result("one", 1.0))

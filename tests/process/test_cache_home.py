"""Caches lie where the user's desktop says, else in the home folder, else nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline.process.cache_home import cache_home


def test_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_home() == Path("/somewhere/paceline")
    for not_absolute in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", not_absolute)
        monkeypatch.setenv("HOME", "/home/someone")
        assert cache_home() == Path("/home/someone/.cache/paceline")


def test_no_home_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert cache_home() is None

"""A file is the old or the new one, whatever happens in between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paceline.errors import ResourceError
from paceline.process.atomic import write_atomic


def test_it_replaces_and_sets_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "new" / "profile.json"
    write_atomic(path, b"old")
    write_atomic(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["profile.json"]


def test_a_failure_keeps_the_old_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "profile.json"
    write_atomic(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match=r"cannot write .*profile\.json: No space left on device"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["profile.json"]


def test_a_folder_that_cannot_be_is_a_resource_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ResourceError, match="cannot write"):
        write_atomic(tmp_path / "file" / "profile.json", b"")

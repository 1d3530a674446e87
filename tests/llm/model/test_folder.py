"""Files of a model folder that are not what they seem."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paceline.errors import ModelError
from paceline.llm.model.folder import locate, read_json


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "a\\b", "", ".", "..", "a\0b", "x" * 300])
def test_names_that_are_not_file_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="not a plain file name"):
        locate(tmp_path, name)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").symlink_to("../secret.json")
    with pytest.raises(ModelError, match="leads out of the model folder"):
        read_json(folder, "config.json")


def test_links_of_the_hub_cache_are_followed(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "snapshots" / "abc", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "123").write_text('{"a": 1}')
    (snapshot / "config.json").symlink_to("../../blobs/123")
    fields = read_json(snapshot, "config.json")
    assert fields is not None
    assert fields.values == {"a": 1}


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ModelError, match="not a regular file"):
        read_json(tmp_path, "config.json")


@pytest.mark.parametrize(
    "text", [b"[1]", b"{", b"\xff\xfe{}", b'{"a": 1, "a": 2}', b"[" * 100_000, b'{"a":' * 50_000, b"", b"nul"]
)
def test_broken_json(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(ModelError, match=r"config\.json"):
        read_json(tmp_path, "config.json")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(ModelError, match="at most"):
        read_json(tmp_path, "config.json")

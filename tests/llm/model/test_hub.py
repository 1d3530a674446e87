"""From a name to a folder, without a network."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from paceline.errors import ModelError
from paceline.llm.model.hub import resolve


def test_an_existing_folder_is_itself(tmp_path: Path) -> None:
    assert resolve(str(tmp_path)) == tmp_path


@pytest.mark.parametrize(
    "name",
    ["/no/such/folder", "../../no/such", "a/b/c", "a..b/c", "%2e%2e/etc", "a\0b", "x" * 5000, "a/" + "b" * 300,
     "org/name?x", "https://evil/x", "-x/y", "", " ", "a--b/c", "org\\name"],
)  # fmt: skip
def test_names_that_are_nothing(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(ModelError, match="give a folder") as failure:
        resolve(name)
    assert len(str(failure.value)) < 500


def test_a_download_asks_for_data_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def download(model: str, **options: Any) -> str:
        asked.update(options, model=model)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    lines: list[str] = []
    assert resolve("org/some-model", revision="abc", report=lines.append) == tmp_path
    assert asked["model"] == "org/some-model"
    assert asked["revision"] == "abc"
    fetched = [
        name
        for name in ("config.json", "model-00001-of-00002.safetensors", "modeling_x.py", "pytorch_model.bin", "x.pt")
        if any(fnmatch.fnmatch(name, pattern) for pattern in asked["allow_patterns"])
    ]
    assert fetched == ["config.json", "model-00001-of-00002.safetensors"]
    assert fnmatch.fnmatch("original/model.safetensors", asked["ignore_patterns"][0])
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("error", "complaint"),
    [
        (errors.LocalEntryNotFoundError("x"), "cannot be reached.*give a folder"),
        (errors.OfflineModeIsEnabled("x"), "HF_HUB_OFFLINE.*give a folder"),
        (OSError("disk"), "download failed.*resume"),
    ],
)
def test_failures_say_what_to_do(error: Exception, complaint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(ModelError, match=complaint):
        resolve("org/some-model")

"""Profiles survive a restart; whatever else lies in the cache, or keeps one from being there, stops nobody."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from paceline.decision import Table
from paceline.llm import cost_file
from paceline.llm.config import EngineConfig
from paceline.llm.cost_file import device_name, load_profile, profile_path, save_profile
from paceline.llm.model.config import ModelConfig
from tests.llm.test_step_model import full_profile

MODEL = ModelConfig(
    family="qwen3", vocab_size=100, hidden_size=8, num_layers=1, num_heads=1, num_kv_heads=1, head_dim=8,
    intermediate_size=8, norm_eps=1e-6, max_model_len=64, rope_theta=1e4,
)  # fmt: skip
CONFIG = EngineConfig(model="m")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = profile_path(CONFIG, MODEL, "native")
    assert found is not None
    assert found.parent == tmp_path / "cache" / "paceline"
    return found


def test_what_was_saved_is_loaded(path: Path) -> None:
    assert load_profile(path) is None
    save_profile(path, full_profile())
    loaded = load_profile(path)
    assert loaded is not None
    assert dict(loaded.cells()) == dict(full_profile().cells())


def test_the_name_tells_what_changes_the_time_of_a_step(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = {
        profile_path(EngineConfig(model="m", quantize="int4"), MODEL, "native"),
        profile_path(EngineConfig(model="m", threads=77), MODEL, "native"),
        profile_path(CONFIG, ModelConfig(**{**_fields(MODEL), "num_layers": 2}), "native"),
        profile_path(CONFIG, ModelConfig(**{**_fields(MODEL), "dtype": "float32"}), "native"),
    }
    monkeypatch.setattr(cost_file, "_cpu_name", lambda: "another")
    others.add(profile_path(CONFIG, MODEL, "native"))
    monkeypatch.setattr(cost_file, "__version__", "99")
    others.add(profile_path(CONFIG, MODEL, "native"))
    assert len(others - {path, None}) == 6


def _fields(model: ModelConfig) -> dict[str, object]:
    return {name: getattr(model, name) for name in ModelConfig.__dataclass_fields__}


def test_equal_engines_share_a_name(path: Path) -> None:
    assert profile_path(EngineConfig(model="elsewhere", max_num_seqs=3), MODEL, "native") == path


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\x00", b"[]", b'{"axes": [[1]], "cells": []}', Table([[1.0]]).to_json(), b" " * (2 << 20)],
    ids=["empty", "bytes", "list", "no cells", "foreign", "huge"],
)
def test_other_files_are_ignored_with_a_word_and_replaced(
    path: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert load_profile(path) is None
    assert str(path) in caplog.text
    save_profile(path, full_profile())
    assert load_profile(path) is not None


def test_a_folder_that_cannot_be_read_or_written_stops_nobody(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.parent.write_text("a file where the cache should be")
    with caplog.at_level(logging.WARNING):
        assert load_profile(path) is None
        save_profile(path, full_profile())
    assert "cannot write" in caplog.text
    assert len(caplog.records) == 2


def test_without_a_home_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError

    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setattr(Path, "home", nowhere)
    assert profile_path(CONFIG, MODEL, "native") is None
    assert load_profile(None) is None
    save_profile(None, full_profile())


def test_the_cache_lies_in_the_home_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    found = profile_path(CONFIG, MODEL, "native")
    assert found is not None
    assert found.parent == tmp_path / ".cache" / "paceline"


def test_the_device_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_name(CONFIG, "native")
    assert device_name(EngineConfig(model="m", device="cpu"), "torch") == device_name(CONFIG, "native")
    monkeypatch.setattr(cost_file, "_CPUINFO", tmp_path / "none")
    assert device_name(CONFIG, "native")

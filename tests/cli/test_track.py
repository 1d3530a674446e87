"""``paceline track`` and ``paceline stream`` as their users meet them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from paceline.cli import main
from paceline.streaming.score.jsonl import read

pytest.importorskip("av")
pytest.importorskip("onnxruntime")
DRIVE = "render:7?seconds=2"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_info:
        main(list(map(str, arguments)))
    return int(exit_info.value.code or 0)


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PACELINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command that succeeds; what it printed as JSON."""

    def ask(*arguments: object) -> dict[str, Any]:
        assert run(*arguments, "--json") == 0
        return dict(json.loads(capsys.readouterr().out))

    return ask


def test_a_drive_is_tracked_and_judged(tmp_path: Path, told: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lines = tmp_path / "tracks.jsonl"
    made = told("track", DRIVE, "--config", "d1", "-o", lines)
    outputs = read(lines)
    assert made["num_frames"] == 20
    assert made["num_outputs"] == len(outputs) > 0
    assert made["num_outputs"] + sum(made["drops"].values()) == 20
    assert 0 < made["age_p50_s"] <= made["age_p95_s"] <= 1
    assert all(output.capture_us < output.emit_us == output.valid_us for output in outputs)
    score = told("stream", "eval", lines, "--truth", DRIVE)
    assert score["num_frames"] == 20
    assert 0 <= score["streaming_idf1"] <= 1
    assert run("stream", "eval", lines, "--truth", DRIVE, "--rule", "sap", "--by-class") == 0
    shown = capsys.readouterr().out
    assert "MOTA" in shown
    assert "offline" in shown


@pytest.mark.parametrize("kind", [".webm", ".mp4", ".txt"])
def test_other_files(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / f"tracks{kind}"
    assert run("track", DRIVE, "--config", "d1", "-o", out, "--no-forecast", "--seconds", "0.5") == 0
    assert "5, of which" in capsys.readouterr().out
    assert out.exists()


def test_live(told: Any) -> None:
    made = told("track", "render:7?seconds=20", "--config", "d1", "--live", "--seconds", "1")
    assert made["reason"] == "stopped"
    assert 1 <= made["num_outputs"] <= made["num_frames"] < 200


def test_a_drive_as_a_video_that_is_tracked_again(tmp_path: Path, told: Any) -> None:
    clip = tmp_path / "clip.webm"
    assert run("stream", "render", "render:3?seconds=1", "-o", clip) == 0
    assert told("track", clip, "--config", "d1")["num_frames"] == 10


def test_how_long_detectors_take(tmp_path: Path, told: Any) -> None:
    out = tmp_path / "profile.json"
    made = told("stream", "profile", "--repeats", "2", "-o", out)
    assert list(made) == ["d1", "d2", "d3", "d4", "d5", "d6"]
    assert out.exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["track", "nowhere.mp4"], "nowhere.mp4 does not exist"),
        (["track", DRIVE, "--config", "d9"], "known: d1, d2"),
        (["track", DRIVE, "-o", "x.gif"], "known: .jsonl"),
        (["track", DRIVE, "-o", "/nowhere/x.jsonl"], "cannot be written"),
        (["track", DRIVE, "--tracker", "deep"], "pylot"),
        (["track", DRIVE, "--detectors", "/nowhere"], "cannot read the table"),
        (["stream", "eval", "/nowhere/x.jsonl", "--truth", DRIVE], "x.jsonl"),
        (["stream", "render", "webcam:99", "-o", "x.webm"], "has no end"),
    ],
)
def test_what_is_wrong_is_said(given: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*given) in (2, 3, 4)
    assert said in capsys.readouterr().err


def test_a_file_without_a_picture_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = tmp_path / "clip.webm"
    assert run("stream", "render", "render:3?seconds=1", "-o", clip) == 0
    clip.write_bytes(clip.read_bytes()[:3000])
    assert run("track", clip, "--config", "d1") != 0
    assert "picture" in capsys.readouterr().err

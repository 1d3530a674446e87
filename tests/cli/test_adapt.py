"""``paceline adapt`` as its users meet it: from a folder of pictures to files, and what it says."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from paceline.cli.adapt_open import CHECKPOINT
from paceline.transfer.fit import trainer
from tests.cli.adapting import QUICK, run
from tests.transfer.drawn import SHAPES


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PACELINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def place(adapting: Path) -> Path:
    return adapting


def test_training_says_what_was_learned_and_what_is_next(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "images" / "disc" / "torn.png").write_bytes(b"\x89PNG")
    out = tmp_path / "shapes"
    assert run("train", place / "images", "--out", out, "--base", place / "base.safetensors", *QUICK) == 0
    (place / "images" / "disc" / "torn.png").unlink()
    told = capsys.readouterr()
    assert re.search(r"pictures +\d+ train, \d+ val, \d+ test; 4 classes", told.out)
    assert re.search(r"test +[\d.]+ % right \([\d.]+ % to [\d.]+ %\)", told.out)
    assert f"paceline adapt predict {out} PICTURE" in told.err
    assert "left out 1 file:" in told.err
    assert "torn.png" in told.err
    assert {path.name for path in out.iterdir()} == {"adapter.json", "adapter.safetensors", "training.json"}


def test_training_for_programs_prints_one_object(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ("--base", place / "base.safetensors")
    assert (
        run("train", place / "images", "--out", tmp_path / "a", *base, "--gate", "none", "--json", "--threads", 1) == 0
    )
    told = capsys.readouterr()
    assert told.err == ""
    found = json.loads(told.out)
    assert found["classes"] == sorted(SHAPES)
    assert found["gate"] is None
    assert 0 <= found["test_top1"] <= 1


def test_an_adapter_is_not_lost_by_accident(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", place / "images", "--out", place / "shapes") == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_training_that_is_interrupted_goes_on(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("train", place / "images", "--out", tmp_path / "a", "--base", place / "base.safetensors", *QUICK)

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(trainer._Training, "_judged_epoch", interrupt)
        assert run(*command) == 130
    assert "the same command with --resume goes on" in capsys.readouterr().err
    assert (tmp_path / "a" / CHECKPOINT).is_file()
    assert run("eval", tmp_path / "a", place / "images") == 3
    assert "--resume" in capsys.readouterr().err
    assert run(*command) == 2
    assert "go on with --resume" in capsys.readouterr().err
    assert run(*command, "--resume") == 0
    assert not (tmp_path / "a" / CHECKPOINT).exists()


def test_pictures_that_were_learned_from_are_not_evaluated(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("eval", place / "shapes", place / "images", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["num_pictures"] == sum(map(sum, found["confusion"])) < 12
    assert run("eval", place / "shapes", place / "images", "--part", "all", "--json") == 0
    assert json.loads(capsys.readouterr().out)["num_pictures"] == 48
    assert run("eval", place / "shapes", place / "images", "--quiet") == 0
    assert "macro F1" in capsys.readouterr().out


def test_predictions_are_of_files_and_folders(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted((place / "images" / "cross").iterdir())
    assert run("predict", place / "shapes", files[0], place / "images" / "cross", "--top", 2, "--json") == 0
    found = json.loads(capsys.readouterr().out)["pictures"]
    assert [each["path"] for each in found] == [str(file) for file in (files[0], *files)]
    assert found[0]["probability"] >= found[0]["classes"][1]["probability"]
    (tmp_path / "torn.png").write_bytes(b"no picture")
    assert run("predict", place / "shapes", files[0], tmp_path / "torn.png") == 1
    told = capsys.readouterr()
    assert told.out.splitlines()[0].split() == ["picture", "class", "probability"]
    assert "torn.png: not a picture" in told.err


def test_comparisons_are_tables_and_objects(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ("--base", place / "base.safetensors", "--threads", 1, "--epochs", 1, "--from", "layer4")
    command = ("compare", place / "images", "-m", "probe", "-m", "affine", "--journal", tmp_path / "j", *base)
    assert run(*command) == 0
    told = capsys.readouterr()
    assert [line.split()[0] for line in told.out.splitlines()] == ["method", "probe", "affine"]
    assert "affine, seed 0:" in told.err
    assert run(*command, "--json") == 0  # from the journal
    found = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in found["methods"]] == ["probe", "affine"]
    assert all(row["low"] <= row["top1"] <= row["high"] for row in found["methods"])


def test_channels_are_ranked(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("rank", place / "shapes", place / "images", "--num", 3, "--threads", 1)
    assert run(*command, "--out", tmp_path / "ranking.json") == 0
    told = capsys.readouterr().out
    assert "not known: give adapters of other seeds with --against" in told
    assert len(json.loads((tmp_path / "ranking.json").read_bytes())["scores"]) == 29
    assert run(*command, "--against", place / "shapes", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["stability"] == 1.0
    assert len(found["channels"]) == 3


def test_a_pruned_network_is_used_like_an_adapter(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small"
    assert (
        run(
            "prune",
            place / "shapes",
            place / "images",
            "--macs",
            0.8,
            "--heal",
            1,
            "--out",
            out,
            "--threads",
            1,
            "--json",
        )
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["macs"] / found["macs_before"] == pytest.approx(0.8, abs=0.03)
    assert run("eval", out, place / "images", "--json") == 0
    assert json.loads(capsys.readouterr().out)["top1"] == pytest.approx(found["top1"])
    assert run("rank", out, place / "images") == 3
    assert "which has no gates any more" in capsys.readouterr().err


def test_files_for_others(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors import safe_open

    assert run("fold", place / "shapes", "--out", tmp_path / "whole.safetensors") == 0
    with safe_open(tmp_path / "whole.safetensors", "pt") as file:
        assert json.loads(file.metadata()["classes"]) == sorted(SHAPES)
    report = ("report", place / "shapes", place / "images", "--out", tmp_path / "report.html", "--threads", 1)
    assert run(*report) == 0
    assert "<html" in (tmp_path / "report.html").read_text()
    assert run("export", place / "shapes", "--out", tmp_path / "model.onnx") == 0
    assert "model.onnx" in capsys.readouterr().err

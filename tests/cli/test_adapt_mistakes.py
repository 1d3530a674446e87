"""What ``paceline adapt`` says to mistakes, odd pictures, full disks and files that want to run code."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paceline.errors import ExecutionError
from tests.cli.adapting import QUICK, run
from tests.transfer.small_base import write_base


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PACELINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def place(adapting: Path) -> Path:
    return adapting


def broken_folders(place: Path, folder: Path) -> dict[str, Path]:
    """Folders of pictures that are none."""
    made = {name: folder / name for name in ("empty", "flat", "one", "nested", "torn", "single")}
    for path in made.values():
        path.mkdir(parents=True)
    picture = next((place / "images" / "disc").iterdir())
    shutil.copy(picture, made["flat"])
    shutil.copytree(place / "images" / "disc", made["one"] / "disc")
    shutil.copytree(place / "images", made["nested"] / "shapes")
    for name in ("disc", "cross"):
        (made["torn"] / name).mkdir()
        (made["torn"] / name / "1.png").write_bytes(picture.read_bytes()[:60])
        (made["single"] / name).mkdir()
    shutil.copytree(place / "images" / "disc", made["single"] / "disc", dirs_exist_ok=True)
    shutil.copy(picture, made["single"] / "cross" / "1.png")
    return made


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("empty", "holds no folders"),
        ("flat", "one folder per class"),
        ("one", "only one class, 'disc'"),
        ("nested", "lies below the class folder"),
        ("torn", "none of 2 pictures can be read"),
        ("single", "each class needs 3 different pictures"),
    ],
)
def test_folders_that_cannot_be_learned_from(
    name: str, says: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = broken_folders(place, tmp_path / "images")[name]
    assert run("train", images, "--out", tmp_path / "a", "--base", place / "base.safetensors", *QUICK) == 2
    assert says in " ".join(capsys.readouterr().err.split())


MISTAKES: list[tuple[tuple[str, ...], int, str]] = [
    (("train", "images"), 2, "--out"),
    (("train", "images", "--out", "a", "--gate", "afine"), 2, "did you mean 'affine'?"),
    (("train", "images", "--out", "a", "--gate", "scratch"), 2, "--gate scratch is no gate"),
    (("train", "images", "--out", "a", "--epochs", "0"), 2, "--epochs must be >= 1"),
    (("train", "images", "--out", "a", "--threads", "0"), 2, "--threads must be >= 1"),
    (("train", "images", "--out", "a", "--batch-size", "0"), 2, "--batch-size must be >= 1"),
    (("train", "images", "--out", "a", "--resume"), 2, "--resume: no training"),
    (("train", "images", "--out", "a", "--resume", "--overwrite"), 2, "not both"),
    (("train", "images", "--out", "/proc/a"), 4, "cannot write in /proc/a"),
    (("train", "images", "--out", "a", "--base", "none.safetensors"), 3, "none.safetensors"),
    (("train", "images", "--out", "a", "--arch", "resnet51"), 2, "resnet51"),
    (("train", "images", "--out", "a", "--base", "base.safetensors", "--val", "0.9", "--test", "0.2"), 2, "both together < 1"),
    (("train", "images", "--out", "a", "--base", "base.safetensors", "--from", "layer9"), 2, "layer9"),
    (("train", "images", "--out", "a", "--base", "base.safetensors", "--device", "tpu"), 2, "unknown device"),
    (("eval", "nowhere", "images"), 3, "there is no adapter in nowhere"),
    (("eval", "shapes", "nowhere"), 2, "nowhere is not a folder"),
    (("eval", "shapes", "images", "--base", "other.safetensors"), 3, "made for the base 'base'"),
    (("eval", "shapes", "images", "--base", "r18.safetensors"), 3, "resnet18"),
    (("predict", "shapes", "nothing.png"), 2, "nothing.png: no such file"),
    (("rank", "shapes", "images", "--criterion", "tailor"), 2, "did you mean 'taylor'?"),
    (("prune", "shapes", "images", "--macs", "2", "--out", "small"), 2, "--macs must be in (0, 1)"),
    (("report", "shapes", "images", "--out", "report.txt"), 2, "--out must end with .html"),
    (("report", "shapes", "images", "--out", "r.html", "--compared", "base.json"), 2, "--compared base.json is not what"),
    (("fold", "shapes", "--out", "x.pth"), 2, "--out must end with .safetensors"),
    (("export", "shapes", "--out", "x"), 2, "--out must end with .onnx"),
    (("compare", "images", "-m", "afine"), 2, "did you mean 'affine'?"),
    (("evla",), 2, "Did you mean 'eval'?"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "says"), MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, tuple) else None
)
def test_mistakes_are_explained(
    arguments: tuple[str, ...],
    code: int,
    says: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    if not Path("other.safetensors").exists():
        write_base(Path("other.safetensors"), seed=1)
        write_base(Path("r18.safetensors"), arch="resnet18", num_inputs=3)
    assert run(*arguments) == code
    told = capsys.readouterr().err
    assert says in " ".join(re.sub(r"[│╭╮╰╯─]", " ", told).split())
    assert "Traceback" not in told


def test_odd_pictures_are_read(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grey = np.full((40, 50), 128, np.uint8)
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.new("CMYK", (30, 30), (0, 128, 255, 0)).save(tmp_path / "print.jpg")
    Image.new("P", (1, 1)).save(tmp_path / "dot.gif")
    Image.new("LA", (30, 20), (0, 0)).save(tmp_path / "clear.png")
    assert run("predict", place / "shapes", tmp_path, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["pictures"]) == 4


def test_a_base_that_could_run_code_is_refused(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "evil.pth").write_bytes(b"cposix\nsystem\n(S'echo no'\ntR.")
    assert run("train", place / "images", "--out", tmp_path / "a", "--base", tmp_path / "evil.pth") == 3
    assert "evil.pth" in capsys.readouterr().err


def test_a_full_disk_is_told_and_leaves_nothing_half(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("paceline.process.atomic.os.fsync", full)
    assert run("train", place / "images", "--out", tmp_path / "a", "--base", place / "base.safetensors", *QUICK) == 4
    assert "No space left on device" in capsys.readouterr().err
    assert not [path for path in (tmp_path / "a").iterdir() if path.is_file()]


def test_a_loss_that_is_no_number_is_no_accident_of_ours(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def diverge(*arguments: object) -> float:
        raise ExecutionError("the loss is nan; give a lower learning_rate")

    monkeypatch.setattr("paceline.transfer.fit.learner.Learner.step", diverge)
    assert run("train", place / "images", "--out", tmp_path / "a", "--base", place / "base.safetensors", *QUICK) == 1
    assert "give a lower --learning-rate" in capsys.readouterr().err

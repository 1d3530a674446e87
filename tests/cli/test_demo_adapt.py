"""The part of the demo that adapts a network: three ways are told, a report is written, and chance is no success."""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path

import pytest
import torch
from rich.console import Console

from paceline.cli.demo_adapt import show_adapters
from paceline.errors import ExecutionError


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("paceline.cli.demo_adapt._SHOTS", 8)
    monkeypatch.setattr("paceline.cli.demo_adapt._EPOCHS", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def screen() -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=120), text


def test_it_shows_figures_and_writes_a_report() -> None:
    console, text = screen()
    show_adapters(console)
    for name in ("head alone", "affine gates", "everything"):
        assert re.search(rf"{name} +[\d.]+ % right, [\d.]+ [kM]B, learned in [\d.]+ s", text.getvalue())
    [report] = re.findall(r"\S+report\.html", text.getvalue())
    assert "<html" in Path(report).read_text()


def test_chance_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paceline.cli.demo_adapt._METHODS", {"affine": "affine gates"})
    monkeypatch.setattr("paceline.cli.demo_adapt._SUCCESS", 30)
    with pytest.raises(ExecutionError, match="little more than chance"):
        show_adapters(screen()[0])


def test_it_says_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paceline.cli.demo_adapt.is_complete", lambda extra: False)
    console, text = screen()
    show_adapters(console)
    assert "pip install 'paceline[transfer]'" in text.getvalue()

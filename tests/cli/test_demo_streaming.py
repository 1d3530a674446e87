"""The part of the demo that tracks: two figures, a picture, and no success without a gain."""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from paceline.cli import demo_streaming
from paceline.cli.demo_streaming import show_tracking
from paceline.errors import ExecutionError

pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo_streaming, "_SECONDS", 3.0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_it_shows_two_figures_and_a_picture() -> None:
    text = io.StringIO()
    show_tracking(Console(file=text, width=120))
    seen, moved = map(float, re.findall(r"S-MOTA +(-?[\d.]+)", text.getvalue()))
    assert moved > seen
    [picture] = re.findall(r"\S+drive\.png", text.getvalue())
    with Image.open(picture) as image:
        assert image.size == (1280, 720)


def test_no_gain_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_streaming, "_s_mota", lambda log, run: 0.5)
    with pytest.raises(ExecutionError, match="gained nothing"):
        show_tracking(Console(file=io.StringIO()))


def test_without_its_packages_it_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_streaming, "is_complete", lambda extra: False)
    text = io.StringIO()
    show_tracking(Console(file=text, width=120))
    assert "paceline[video]" in text.getvalue()

"""The part of the demo that serves many models: answers are checked, the picture and the trace can be opened."""

from __future__ import annotations

import io
import json
import re
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from paceline.cli.demo_multiplex import show_models
from paceline.errors import ExecutionError
from paceline.multiplex import Coalesced


def screen() -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=120), text


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("paceline.cli.demo_multiplex._NUM_TENANTS", 4)
    monkeypatch.setattr("paceline.cli.demo_multiplex._ANSWERS", 5)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_it_shows_figures_and_writes_what_can_be_opened() -> None:
    console, text = screen()
    show_models(console)
    assert re.search(r"together \d+ µs: \d+\.\d times as fast", text.getvalue())
    assert "20 requests in" in text.getvalue()
    picture, trace = (Path(path) for path in re.findall(r"\S+\.(?:svg|json)", text.getvalue()))
    ElementTree.parse(picture)
    assert json.loads(trace.read_text())["traceEvents"]


def test_wrong_answers_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Coalesced, "__call__", lambda self, inputs: [-x for x in inputs])
    with pytest.raises(ExecutionError, match="another answer"):
        show_models(screen()[0])


def test_it_says_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paceline.cli.demo_multiplex.is_complete", lambda extra: False)
    console, text = screen()
    show_models(console)
    assert "pip install 'paceline[multiplex]'" in text.getvalue()

"""What docs/streaming.md shows prints what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = (Path(__file__).parents[2] / "docs" / "streaming.md").read_text()


def test_it_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", DOCS, re.S):
        exec(compile(block, "streaming.md", "exec"), scope)
        assert capsys.readouterr().out.splitlines() == re.findall(r"^ *print\(.*\)  # (.*)$", block, re.M)

"""What docs/multiplex.md shows is one program that prints what it says."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import paceline.errors
from paceline.multiplex.engine import Runtime

DOCS = (Path(__file__).parents[2] / "docs" / "multiplex.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", DOCS, re.S)


def said(block: str) -> list[str]:
    """What a block says that it prints: behind its calls of print, or in the line below."""
    return [
        (here or below).rstrip() for here, below in re.findall(r"^ *print\(.*\)(?:  # (.*)|\n# ?(.*))$", block, re.M)
    ]


def test_it_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, "multiplex.md", "exec"), scope)
        assert capsys.readouterr().out.splitlines() == said(block), block


def test_every_option_of_a_tenant_is_described_with_its_default() -> None:
    options = inspect.signature(Runtime.register).parameters.values()
    for option in [each for each in options if each.kind is each.KEYWORD_ONLY]:
        shown = {"50ms": "50 ms", None: "none"}.get(option.default) or f"{option.default:g}"
        assert f"| `{option.name}` | {shown} |" in DOCS


def test_errors_that_it_names_exist() -> None:
    for name in re.findall(r"^\| `([A-Z]\w+)` \|", DOCS, re.M):
        assert issubclass(getattr(paceline.errors, name), paceline.errors.PacelineError)

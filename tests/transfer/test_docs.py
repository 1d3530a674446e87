"""What docs/adapt.md shows is one program that prints what it says, and every option is in it with its default."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import torch

from paceline.transfer.estimator import AdaptClassifier
from paceline.transfer.fit.options import FitOptions
from paceline.transfer.gates.gate import GATES

DOCS = (Path(__file__).parents[2] / "docs" / "adapt.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", DOCS, re.S)


def said(block: str) -> list[str]:
    return re.findall(r"^ *print\(.*\)  # (.*)$", block, re.M)


@pytest.mark.timeout(240)
def test_it_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    scope: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, "adapt.md", "exec"), scope)
        assert capsys.readouterr().out.splitlines() == said(block), block


def test_every_parameter_is_described_with_its_default() -> None:
    for parameter in inspect.signature(AdaptClassifier).parameters.values():
        shown = f'"{parameter.default}"' if isinstance(parameter.default, str) else str(parameter.default)
        assert f"| `{parameter.name}` | {shown} |" in DOCS


def test_every_option_of_a_training_is_described_with_its_default() -> None:
    own = inspect.signature(AdaptClassifier).parameters
    options = FitOptions()
    for name in FitOptions.__struct_fields__:
        default = getattr(options, name)
        shown = (
            f'"{default}"'
            if isinstance(default, str)
            else f"{default:g}"
            if isinstance(default, float)
            else str(default)
        )
        assert name in own or f"| `{name}` | {shown} |" in DOCS, name


def test_every_gate_is_described() -> None:
    assert all(f"| `{gate}` |" in DOCS for gate in GATES)

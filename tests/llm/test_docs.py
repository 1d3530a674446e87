"""What docs/llm.md shows can be typed as it stands."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from paceline.decision.linear import Linear
from paceline.llm.config import SPECULATION, EngineConfig
from paceline.llm.draft.proposer import PROPOSERS, Context, Setup
from paceline.llm.draft.tree import defect
from paceline.llm.embedded import embedded_model
from paceline.llm.model.families import read_config
from paceline.llm.policies import make_policy
from paceline.llm.speculation import POLICIES, PolicySetup
from paceline.llm.step_cost import StepCost
from paceline.llm.tokenizer import Tokenizer

DOCS = (Path(__file__).parents[2] / "docs" / "llm.md").read_text()
ENGINE, PROPOSER = re.findall(r"```python\n(.*?)```", DOCS, re.S)
[ENTRY_POINT] = re.findall(r"```toml\n.*?\n(.*?)```", DOCS, re.S)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The example installed as a package of its own; the name of its proposer."""
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "phrases.py").write_text(PROPOSER)
    information = tmp_path / "my_package-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    target = ENTRY_POINT.replace('"', "")
    (information / "entry_points.txt").write_text(f"[paceline.draft_proposer]\n{target}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(PROPOSERS, "_items", dict(PROPOSERS._items))
    for name in [name for name in sys.modules if name.startswith("my_package")]:
        monkeypatch.delitem(sys.modules, name)
    return target.partition("=")[0].strip()


def make(name: str) -> Any:
    folder = Path(embedded_model())
    setup = Setup(EngineConfig(model=str(folder)), read_config(folder), folder)
    return PROPOSERS[name](setup)


def test_the_engine_answers(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(ENGINE, "llm.md", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_a_proposer_of_another_package_is_found_and_drafts(package: str) -> None:
    assert package in PROPOSERS
    proposer = make(package)
    tokenizer = Tokenizer.from_folder(Path(embedded_model()))
    text = tokenizer.encode("I am sorry, but I cannot answer this question.")
    begun, other = Context(text[:5], 2), Context(tokenizer.encode("import os"), 2)
    tree, nothing = proposer.propose([begun, other], 4)
    assert list(tree.tokens) == text[5:9]
    assert len(nothing) == 0
    assert defect(tree, tokenizer.vocab_size, 4) is None
    assert proposer.catch_up([begun, other]) == [(0, 0), (0, 0)]
    assert proposer.num_missed(begun) == 0
    proposer.finish(begun)
    proposer.close()


def test_every_number_of_the_controller_is_described() -> None:
    setup = PolicySetup((), StepCost(Linear([1.0, 1.0, 1.0])), 16)
    for name in make_policy("auto", setup).explain().numbers:
        assert f"`{name}`" in DOCS, name


def test_every_proposer_and_every_policy_is_described() -> None:
    for name in (*PROPOSERS, *SPECULATION, *POLICIES):
        assert f"| `{name}` |" in DOCS, name

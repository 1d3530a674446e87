"""What the README tells a newcomer to type is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paceline.llm import embedded_model

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


@pytest.mark.parametrize("block", [block for block in BLOCKS if "import paceline" in block or "from paceline" in block])
def test_snippets_print_what_they_say(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip() == block.rpartition("  # ")[2].strip()


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"make ([a-z]+)", README)) <= targets


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_packaged_models_are_small_and_whole() -> None:
    total = 0
    for name in ("target", "draft"):
        folder = Path(embedded_model(name))
        for file in ("config.json", "model.safetensors", "tokenizer.json", "generation_config.json", "README.md"):
            assert (folder / file).is_file(), f"{name}/{file}"
        total += sum(path.stat().st_size for path in folder.iterdir())
    assert total <= 30 * 2**20

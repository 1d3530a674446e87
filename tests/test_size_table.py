"""The size table counts code alone and fails above a limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.size_table import BUDGETS, code_lines, main, measure

SOURCE = '''"""A module.

Of several lines.
"""

# a comment
class Thing:
    """A thing."""

    def method(self) -> str:
        """Says.

        >>> 1
        1
        """
        text = """kept
        as it is"""  # why

        return text
'''


def test_comments_blank_lines_and_docstrings_do_not_count(tmp_path: Path) -> None:
    assert sorted(code_lines(SOURCE)) == [7, 10, 16, 17, 19]
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "thing.py").write_text(SOURCE)
    (tmp_path / "alone.py").write_text("x = 1\n")
    alone, part = measure(tmp_path)
    assert (alone.name, alone.lines) == ("alone", 1)
    assert (part.name, part.lines, list(part.functions.values())) == ("part", 5, [4])


@pytest.mark.parametrize(
    ("name", "source", "text"),
    [
        ("sim", "x = 1\n" * (BUDGETS["sim"] + 1), "sim: 451 lines, budget 450"),
        ("llm", "x = 1\n" * 501, "limit 500"),
        ("llm", "def long():\n" + "    x = 1\n" * 80, "long:1: 81 lines, limit 80"),
    ],
)
def test_what_is_too_large_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, source: str, text: str
) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "module.py").write_text(source)
    assert main(tmp_path) == 1
    assert text in capsys.readouterr().err


def test_what_fits_passes(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(SOURCE)
    assert main(tmp_path) == 0

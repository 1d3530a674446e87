"""Python's own library as training text: whole files, and functions short enough for a chat."""

from __future__ import annotations

import ast
import functools
import sysconfig
import textwrap
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

SKIPPED: Final = frozenset(
    {"test", "tests", "site-packages", "idlelib", "lib2to3", "encodings", "turtledemo", "ensurepip"}
)
MIN_CHARS: Final = 60
MAX_CHARS: Final = 420


def code_files(held_out: bool) -> Iterator[str]:
    """Python's own library, one file in twenty kept back."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if SKIPPED.isdisjoint(relative.parts) and (zlib.crc32(str(relative).encode()) % 20 == 0) == held_out:
            yield path.read_text("utf-8", errors="ignore")


def short_functions(sources: Iterable[str]) -> list[str]:
    """Functions, methods and classes of a size that fits into a chat, in the order of the files.

    >>> short_functions(["def hypotenuse(a, b):\\n    return math.sqrt(a * a + b * b)  # Pythagoras\\n"])
    ['def hypotenuse(a, b):\\n    return math.sqrt(a * a + b * b)  # Pythagoras']
    """
    found = []
    for source in sources:
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):
            continue
        lines = source.splitlines()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                text = textwrap.dedent("\n".join(lines[node.lineno - 1 : node.end_lineno]))
                if MIN_CHARS <= len(text) <= MAX_CHARS:
                    found.append(text)
    return found


@functools.cache
def training_functions() -> list[str]:
    """Short functions of the files that are trained on."""
    return short_functions(code_files(held_out=False))

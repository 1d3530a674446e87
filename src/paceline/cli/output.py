"""How figures, sizes and tables look, and the check of a file that is going to be written."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from paceline.cli.console import console
from paceline.errors import ConfigError, ResourceError

NO_LIMIT: Final = 100_000  # columns, where nobody looks at once


def percent(share: float) -> str:
    """
    >>> percent(0.5204)
    '52.0 %'
    """
    return f"{100 * share:.1f} %"


def counted(number: int, noun: str) -> str:
    """
    >>> counted(1, "picture"), counted(1200, "class")
    ('1 picture', '1,200 classes')
    """
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {noun if number == 1 else plural}"


def sized(num_bytes: float) -> str:
    """
    >>> sized(1500), sized(2_340_000)
    ('1.5 kB', '2.3 MB')
    """
    return f"{num_bytes / 1e3:.1f} kB" if num_bytes < 1e6 else f"{num_bytes / 1e6:.1f} MB"


def wilson(share: float, num: int) -> tuple[float, float]:
    """A 95 % interval of a share of ``num`` independent trials (Wilson, 1927).

    >>> [round(bound, 3) for bound in wilson(0.5, 100)]
    [0.404, 0.596]
    """
    z = 1.96
    middle = (share + z * z / (2 * num)) / (1 + z * z / num)
    half = z * math.sqrt(share * (1 - share) / num + z * z / (4 * num * num)) / (1 + z * z / num)
    return max(0.0, middle - half), min(1.0, middle + half)


def show(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and values, one a line."""
    screen = console()
    for name, value in pairs:
        screen.print(f"[bold]{name:12}[/]", end="")
        screen.print(value, markup=False, soft_wrap=True)


def show_table(columns: Sequence[str], lines: Iterable[Sequence[str]], *, num_texts: int = 1) -> None:
    """A table that fits a terminal, and is as wide as it must be elsewhere; the first ``num_texts`` columns are texts, the others numbers."""
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for place, name in enumerate(columns):
        is_text = place < num_texts
        grid.add_column(name, justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
    for line in lines:
        grid.add_row(*(Text(plain(cell)) for cell in line))
    screen = console()
    if not screen.is_terminal:
        screen.width = NO_LIMIT
    screen.print(grid)


def plain(text: str) -> str:
    """A text on one line. Names of files and classes are strangers': what could steer the terminal becomes a space.

    >>> plain("a" + chr(27) + "[31mb")
    'a [31mb'
    """
    return "".join(letter if letter.isprintable() else " " for letter in text)


def check_file(path: Path, suffix: str, option: str = "--out") -> None:
    """ConfigError or ResourceError if a file cannot be written to ``path``; better said before the work than behind it."""
    if path.suffix.lower() != suffix:
        raise ConfigError(f"{option} must end with {suffix}, got {str(path)!r}")
    if path.is_dir():
        raise ResourceError(f"cannot write {path}: it is a folder; name a file in it")
    check_writable(path.parent)


def check_writable(folder: Path) -> None:
    """ResourceError if nothing can be written in a folder that is there or is to be made."""
    place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise ResourceError(f"cannot write in {folder}: {error.strerror or error}; name another folder") from error

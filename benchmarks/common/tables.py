"""Tables of a result, on the terminal and between the marks of a README."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table as RichTable

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


class Table(NamedTuple):
    """A heading and rows of text, as wide as the header."""

    title: str
    header: list[str]
    rows: list[list[str]]


def show(tables: Iterable[Table], console: Console) -> None:
    """Prints every table that has rows."""
    for table in tables:
        if not table.rows:
            continue
        shown = RichTable(title=table.title, title_justify="left", header_style="bold")
        for index, name in enumerate(table.header):
            shown.add_column(name, justify="left" if index == 0 else "right")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)


def markdown(table: Table) -> str:
    """
    >>> print(markdown(Table("Speed", ["arm", "ms"], [["plain", "3"]])))
    **Speed**
    <BLANKLINE>
    | arm | ms |
    |---|---|
    | plain | 3 |
    """
    lines = [f"**{table.title}**", "", f"| {' | '.join(table.header)} |", f"|{'---|' * len(table.header)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in table.rows)])


def write_between_marks(readme: Path, parts: Iterable[str]) -> None:
    """Replaces what stands between the marks, by ``parts`` as paragraphs."""
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}{after}")


def number(value: float | None, digits: int = 3) -> str:
    """Significant digits, more where whole; a dash for None.

    >>> number(0.0123456), number(12.345), number(1234.5), number(None)
    ('0.0123', '12.3', '1234', '–')
    """
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"

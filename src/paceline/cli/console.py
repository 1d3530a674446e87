"""What all commands print with: results on standard output, remarks for people on standard error."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console(*, stderr: bool = False) -> Console:
    """rich decides by terminal, NO_COLOR and COLUMNS what its output looks like."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def complain(text: str) -> None:
    """One error, never cut or wrapped by us, so that it can be searched for."""
    screen = console(stderr=True)
    screen.print("[bold red]error:[/] ", end="")
    screen.print(text, markup=False, soft_wrap=True)


def say(text: str, *, quiet: bool = False) -> None:
    """A remark for people."""
    if not quiet:
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def working(text: str, *, quiet: bool = False) -> Iterator[None]:
    """Shows that something takes a while: a spinner on a terminal, a plain line elsewhere."""
    if quiet:
        yield
    elif sys.stderr.isatty():
        with console(stderr=True).status(text):
            yield
    else:
        say(text)
        yield

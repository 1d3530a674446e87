"""``paceline demo``: every part shows itself with real work, one section each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from paceline.cli import options as o
from paceline.cli.console import console

if TYPE_CHECKING:
    from rich.console import Console

Section = Callable[["Console"], None]  # raises PacelineError if what it shows does not work


def sections() -> tuple[Section, ...]:
    """What is shown, in this order. A new part adds its line."""
    from paceline.cli.demo_adapt import show_adapters
    from paceline.cli.demo_language import show_language
    from paceline.cli.demo_multiplex import show_models
    from paceline.cli.demo_sql import show_tables
    from paceline.cli.demo_streaming import show_tracking

    return show_language, show_tables, show_models, show_adapters, show_tracking


def demo(debug: o.Debug = False) -> None:
    """Show what Paceline does, with the models that are in the package. Needs no network and no key."""
    screen = console()
    for section in sections():
        section(screen)
    screen.print("\n[green]All of it worked.[/] Next: paceline serve --demo")
    raise typer.Exit(0)

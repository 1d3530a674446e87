"""``paceline adapt``: an image classifier from a folder of pictures, by small adapters over a frozen network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import typer

from paceline.cli.adapt_compare import compare
from paceline.cli.adapt_files import export, fold
from paceline.cli.adapt_prune import prune
from paceline.cli.adapt_rank import rank
from paceline.cli.adapt_report import report
from paceline.cli.adapt_train import train
from paceline.cli.adapt_use import eval_, predict

COMMANDS: Final[tuple[Callable[..., None], ...]] = (
    train, eval_, predict, compare, rank, prune, report, fold, export,
)  # fmt: skip
OTHER_NAMES: Final = {
    "balance_classes": "--balance",
    "from_stage": "--from",
    "num_threads": "--threads",
}  # of options, by fields

adapt = typer.Typer(
    name="adapt",
    help="Teach a pre-trained network your classes by small adapters, see which channels matter, cut the rest.\n\n"
    "Start with: paceline adapt train images/ --out birds/",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in COMMANDS:
    adapt.command(_command.__name__.removesuffix("_"))(_command)

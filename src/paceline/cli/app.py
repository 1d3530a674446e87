"""All commands, one file each."""

from __future__ import annotations

from typing import Annotated

import typer

from paceline import __version__
from paceline.cli import demo, doctor, generate, serve, simulate, sql, track
from paceline.cli.adapt import adapt
from paceline.cli.sql_cache import WithCache
from paceline.cli.stream import stream

app = typer.Typer(
    name="paceline",
    help="Serve a language model from the hardware you have. Start with: paceline demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 1 failed, 2 wrong usage, 3 wrong model, 4 missing memory, port or package.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"paceline {__version__}")
        raise typer.Exit


@app.callback()
def _paceline(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself."""


app.command("serve")(serve.serve)
app.command("generate")(generate.generate)
app.command("sql", cls=WithCache)(sql.sql)
app.add_typer(adapt)
app.command("track")(track.track)
app.add_typer(stream)
app.command("demo")(demo.demo)
app.command("simulate")(simulate.simulate)
app.command("doctor")(doctor.doctor)

"""``paceline sql cache``: the answers that queries keep."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from paceline.cli import options as o
from paceline.cli.console import say
from paceline.errors import ConfigError

if TYPE_CHECKING:
    from paceline.sql.store import StoreStats

Store = Annotated[Path | None, typer.Option("--store", help="The file that holds them.", envvar="PACELINE_SQL_STORE", show_default="answers/answers.sqlite in the user's cache folder")]  # fmt: skip
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))

cache = typer.Typer(
    name="cache",
    help="The answers that 'paceline sql' keeps, so that nothing is asked and paid for twice.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class WithCache(TyperCommand):
    """A command whose first argument may be ``cache``, with commands of its own behind it."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        if args[:1] == ["cache"]:
            group = typer.main.get_command(cache)
            return group.make_context(f"{info_name} cache", args[1:], parent=parent, **extra)
        return super().make_context(info_name, args, parent=parent, **extra)


@cache.command("show")
def show(store: Store = None, as_json: o.AsJson = False, debug: o.Debug = False) -> None:
    """Print where answers are kept, how many there are, their size and age. The file can be deleted at any time."""
    from paceline.sql.store import MAX_AGE_S, MAX_BYTES

    found = _stats(store)
    if as_json:
        print(json.dumps(found._asdict()))
        return
    age = "-" if found.oldest_s is None else f"{_age(found.oldest_s)}, forgotten after {_age(MAX_AGE_S)}"
    rows = (
        ("file", found.path),
        ("answers", f"{found.num_answers:,}"),
        ("size", f"{found.num_bytes / 2**20:.1f} MiB, at most {MAX_BYTES / 2**20:,.0f}"),
        ("oldest", age),
    )
    for name, text in rows:
        print(f"{name:9}{text}")


@cache.command("clear")
def clear(store: Store = None, yes: Yes = False, quiet: o.Quiet = False, debug: o.Debug = False) -> None:
    """Forget all answers that are kept."""
    from paceline.sql import AnswerStore

    found = _stats(store)
    if found.num_answers and not yes:
        if not sys.stdin.isatty():
            raise ConfigError(f"{found.num_answers:,} answers would be forgotten; say that you mean it with --yes")
        typer.confirm(f"Forget {found.num_answers:,} answers in {found.path}?", abort=True)
    count = 0
    if found.num_answers:
        with AnswerStore(found.path) as opened:
            count = opened.clear()
    say(f"forgot {count:,} answers", quiet=quiet)


def _stats(store: Path | None) -> StoreStats:
    """What a store holds; a file that is not there is not made."""
    from paceline.sql.store import AnswerStore, StoreStats, default_path

    path = default_path() if store is None else store
    if not path.exists():
        return StoreStats(str(path), 0, 0, None)
    with AnswerStore(path) as opened:
        return opened.stats()


def _age(seconds: float) -> str:
    """
    >>> _age(90.0), _age(7200.0), _age(90 * 86400.0)
    ('1 minute', '2 hours', '90 days')
    """
    size, unit = next((size, unit) for size, unit in _UNITS if seconds >= size or size == 1)
    number = int(seconds // size)
    return f"{number} {unit}{'' if number == 1 else 's'}"

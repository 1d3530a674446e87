"""The command line. Importing this package imports nothing heavy; each command brings what it needs."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence

from paceline.errors import ConfigError, ExecutionError, PacelineError, RejectedError, ResourceError

_USAGE, _RESOURCES = 2, 4


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits: 0 done, 1 failed, 2 wrong usage, 3 wrong model, 4 missing resources."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    from paceline.cli.app import app
    from paceline.cli.console import complain

    debug = "--debug" in given or bool(os.environ.get("PACELINE_DEBUG"))
    try:
        app(given, prog_name="paceline")
    except Exception as error:
        if debug:
            raise
        complain(_explain(error, given[:1]))
        sys.exit(_exit_code(error))


def _exit_code(error: Exception) -> int:
    if _missing_module(error):
        return _RESOURCES
    if isinstance(error, RejectedError):  # an option that only the engine could judge
        return _USAGE
    return error.exit_code if isinstance(error, PacelineError) else 1


def _missing_module(error: Exception) -> str | None:
    """The module of another package that could not be imported, also where a registry was to bring it."""
    cause = error.__cause__ if isinstance(error, PacelineError) else error
    name = cause.name if isinstance(cause, ModuleNotFoundError) else None
    return None if name is None or name.startswith("paceline") else name.partition(".")[0]


def _explain(error: Exception, command: Sequence[str]) -> str:
    if module := _missing_module(error):
        from paceline.cli.doctor import extra_of

        extra = extra_of(module, "transfer" if command == ["adapt"] else None)
        return f"the package {module} is not installed; run: pip install 'paceline[{extra}]'"
    if isinstance(error, ConfigError | ExecutionError | RejectedError | ResourceError):
        return as_options(str(error), _options(command))
    if isinstance(error, PacelineError):
        return str(error)
    return f"unexpected {type(error).__name__}: {error}; run again with --debug to see where"


def _options(command: Sequence[str]) -> dict[str, str]:
    """The option that sets each field, of the command at work and of those that take the same."""
    if command == ["adapt"]:
        from paceline.cli.adapt import COMMANDS, OTHER_NAMES

        return _named(*COMMANDS) | OTHER_NAMES
    from paceline.cli.generate import generate
    from paceline.cli.serve import serve
    from paceline.cli.sql import sql

    return _named(serve, generate, sql)


def _named(*commands: Callable[..., None]) -> dict[str, str]:
    names = {name for command in commands for name in inspect.signature(command).parameters}
    return {name: f"--{name.replace('_', '-')}" for name in names}


def as_options(text: str, options: Mapping[str, str]) -> str:
    """Names of fields as the options that set them: any with an underscore, and "… must be" at the start.

    >>> as_options("draft must end before drain_timeout_s: it stops", {"draft": "--draft", "drain_timeout": "--drain-timeout"})
    '--draft must end before --drain-timeout: it stops'
    """

    def option(found: re.Match[str]) -> str:
        word = found[0]
        name = word if word in options else word.removesuffix("_s")
        opens = found.start() == 0 and text.startswith(" must", found.end())
        return options[name] if name in options and ("_" in name or opens) else word

    return re.sub(r"[a-z]\w*", option, text)

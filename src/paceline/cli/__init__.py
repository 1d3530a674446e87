"""The command line. Importing this package imports nothing heavy; each command brings what it needs."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Container, Sequence

from paceline.errors import ConfigError, PacelineError, RejectedError

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
        complain(_explain(error))
        sys.exit(_exit_code(error))


def _exit_code(error: Exception) -> int:
    if isinstance(error, RejectedError):  # an option that only the engine could judge
        return _USAGE
    if isinstance(error, PacelineError):
        return error.exit_code
    return _RESOURCES if _is_missing(error) else 1


def _is_missing(error: Exception) -> bool:
    return isinstance(error, ModuleNotFoundError) and not (error.name or "paceline").startswith("paceline")


def _explain(error: Exception) -> str:
    if isinstance(error, ConfigError | RejectedError):
        from paceline.cli.generate import generate
        from paceline.cli.serve import serve

        return as_options(str(error), {*inspect.signature(serve).parameters, *inspect.signature(generate).parameters})
    if isinstance(error, PacelineError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and _is_missing(error):
        return f"the package {error.name} is not installed; run: pip install 'paceline[all]'"
    return f"unexpected {type(error).__name__}: {error}; run again with --debug to see where"


def as_options(text: str, parameters: Container[str]) -> str:
    """Names of fields as the options that set them: any with an underscore, and "… must be" at the start.

    >>> as_options("draft must end before drain_timeout_s: the draft stops", ["draft", "drain_timeout"])
    '--draft must end before --drain-timeout: the draft stops'
    """

    def option(found: re.Match[str]) -> str:
        word = found[0]
        name = word if word in parameters else word.removesuffix("_s")
        opens = found.start() == 0 and text.startswith(" must", found.end())
        named = name in parameters and ("_" in name or opens)
        return "--" + name.replace("_", "-") if named else word

    return re.sub(r"[a-z]\w*", option, text)

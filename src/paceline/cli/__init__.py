"""The command line. Importing this package imports nothing heavy; each command brings what it needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from paceline.errors import PacelineError, RejectedError

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
    if isinstance(error, PacelineError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and _is_missing(error):
        return f"the package {error.name} is not installed; run: pip install 'paceline[all]'"
    return f"unexpected {type(error).__name__}: {error}; run again with --debug to see where"

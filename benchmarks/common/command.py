"""What every benchmark's command line has: form, result, resumption, sections."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path


def parser(
    description: str | None, sections: Iterable[str], *, kept: str = "finished cells"
) -> argparse.ArgumentParser:
    """The common options; ``kept`` says what the work folder holds.

    >>> parser("Measures.", ["plans"]).parse_args(["--quick", "--only", "plans"]).only
    ['plans']
    """
    names = tuple(sections)
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="every figure in at most 8 minutes on 2 cores")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the result here")
    made.add_argument(
        "--work-dir",
        type=Path,
        default=Path(tempfile.gettempdir()) / "paceline-benchmark",
        help=f"{kept} (default: %(default)s)",
    )
    made.add_argument("--resume", action="store_true", help="keep the cells that an interrupted run has finished")
    made.add_argument("--only", nargs="+", choices=names, metavar="SECTION", help=f"of {', '.join(names)}")
    made.add_argument("--show", type=Path, metavar="FILE", help="measure nothing: print the tables of a stored result")
    made.add_argument("--readme", action="store_true", help="put tables and figures into this folder's README.md")
    return made


def timed(name: str, measure: Callable[[], None]) -> None:
    """Runs a section and prints what it took."""
    print(f"{name} …", end=" ", flush=True)
    began = time.monotonic()
    measure()
    print(f"{time.monotonic() - began:.0f} s", flush=True)

"""The worker's side of an arm: JSON lines in, JSON lines out.

Workers run under other Pythons, so this file needs the standard library alone.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

Handler = Callable[..., dict[str, Any]]


def serve(handlers: Mapping[str, Handler]) -> None:
    """Answers ``{"op": name, ...arguments}`` lines until standard input ends.

    Libraries print as they like: their standard output is sent to standard error, the answers
    keep the real one. A handler that raises answers ``{"error": text}`` and the worker lives on.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = handlers[question.pop("op")](**question)
        except Exception as error:  # reported to the parent, which decides
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        answers.write(json.dumps(answer) + "\n")


def resident_bytes(pid: int | str = "self") -> int:
    """Resident memory of a process, shared pages included."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def intervals_ms(stamps_s: list[float]) -> list[float]:
    """Milliseconds between consecutive stamps.

    >>> intervals_ms([1.0, 1.5, 1.75])
    [500.0, 250.0]
    """
    return [1e3 * (after - before) for before, after in pairwise(stamps_s)]

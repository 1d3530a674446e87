"""Arms of a comparison: each a process of its own that stays loaded and is asked one thing at a time.

Only the arm that is asked runs: the others are stopped by a signal, so that no thread pool that
spins while it waits can take a core from the one being measured.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]


class ArmError(Exception):
    """An arm could not answer; the text names the arm, the question and the reason."""


class Arm:
    """A worker process that answers JSON lines.

    The process leads a group of its own, so stopping and ending it reaches its children too.
    Use as a context manager; between questions the arm is stopped.
    """

    def __init__(self, name: str, command: Sequence[str], *, env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._pending = b""
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env={**os.environ, **env},
                process_group=0,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, op: str, *, timeout_s: float = 900.0, **arguments: Any) -> dict[str, Any]:
        """Runs one question; the arm is awake only while it answers.

        Raises ArmError when it reports a failure, ends or does not answer in time.
        """
        if self._process.poll() is not None:
            raise ArmError(f"{self.name} has ended with status {self._process.returncode}; see {self.log}")
        assert self._process.stdin is not None
        self._signal(signal.SIGCONT)
        self._process.stdin.write(json.dumps({"op": op, **arguments}).encode() + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._read_line(op, time.monotonic() + timeout_s))
        self._signal(signal.SIGSTOP)
        if "error" in answer:
            raise ArmError(f"{self.name}: {op}: {answer['error']}")
        return answer

    def _read_line(self, op: str, deadline_s: float) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._pending:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline_s - time.monotonic()))
            if not ready:
                self.close()
                raise ArmError(f"{self.name}: {op}: no answer in time; see {self.log}")
            chunk = os.read(descriptor, 1 << 20)
            if not chunk:
                raise ArmError(f"{self.name} ended while it answered {op}; see {self.log}")
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def close(self) -> None:
        """Ends the process and its children; safe to call twice."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def worker_command(python: str, module: str) -> list[str]:
    """How to start ``module`` of this repository under another Python."""
    return [python or sys.executable, "-u", "-m", module]

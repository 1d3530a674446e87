"""A server under measurement: started as a user starts it, watched from outside."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common.arms import ROOT
from benchmarks.common.child import resident_bytes
from benchmarks.common.stream import Answer, Connection

HOST = "127.0.0.1"
START_TIMEOUT_S = 120.0
POLL_S = 0.01


def command(*arguments: str) -> list[str]:
    """``paceline`` as installed beside this Python, or as a module where it is not."""
    script = Path(sys.executable).with_name("paceline")
    return [*([str(script)] if script.exists() else [sys.executable, "-m", "paceline"]), *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src")}


class Server:
    """``paceline serve`` on a free loopback port."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, started_s: float, log: Path) -> None:
        self.process = process
        self.port = port
        self.started_s = started_s
        self._log = log

    async def first_answer(self) -> Answer:
        """One short greedy completion, asked again and again until the server can give it."""
        body = {"prompt": "def add(a, b):", "max_tokens": 4, "temperature": 0, "stream": True}
        while time.perf_counter() - self.started_s < START_TIMEOUT_S:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with status {self.process.returncode}; see {self._log}")
            async with Connection(HOST, self.port) as connection:
                answer = await connection.post("/v1/completions", body)
            if answer.complete:
                return answer
            if answer.status not in (0, 503):
                raise RuntimeError(f"the server answered {answer.status}: {answer.error}")
            await asyncio.sleep(POLL_S)
        raise RuntimeError(f"the server was not ready in {START_TIMEOUT_S:.0f} s; see {self._log}")

    def resident(self) -> tuple[int, int]:
        """Bytes of the server process and of its largest descendant, the engine."""
        children = [resident_bytes(pid) for pid in _descendants(self.process.pid)]
        return resident_bytes(self.process.pid), max(children, default=0)


@contextlib.contextmanager
def serving(arguments: list[str], log: Path) -> Iterator[Server]:
    """Starts ``paceline serve`` with these arguments and ends it as a supervisor would."""
    port = _free_port()
    with log.open("ab") as output:
        started_s = time.perf_counter()
        process = subprocess.Popen(
            command("serve", *arguments, "--port", str(port)),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            yield Server(process, port, started_s, log)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _descendants(pid: int) -> Iterator[int]:
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, listing.read_text().split()):
            yield child
            yield from _descendants(child)

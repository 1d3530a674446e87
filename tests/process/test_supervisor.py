"""A real child process, killed, stopped, broken and drained."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from paceline.errors import ConfigError, EngineDied, ExecutionError, ModelError, NotReady, ResourceError
from paceline.process.supervisor import Supervisor, SupervisorConfig

from .children import Echo, Order, Say

SOURCE = Path(__file__).resolve().parents[2] / "src"
QUICK = SupervisorConfig(start_timeout_s=20.0, watchdog_s=2.0, backoff_s=0.01, term_grace_s=1.0)


class Watched:
    """A supervisor with everything it reported."""

    def __init__(
        self,
        mode: str = "good",
        config: SupervisorConfig = QUICK,
        greeting: Callable[[], Iterable[object]] = tuple,
    ) -> None:
        self.messages: list[Echo] = []
        self.downs: list[EngineDied] = []
        self.lines: list[str] = []
        self.supervisor: Supervisor[Echo] = Supervisor(
            [sys.executable, str(Path(__file__).with_name("children.py")), mode],
            Echo,
            self.messages.append,
            self.downs.append,
            greeting=greeting,
            config=config,
            on_output=self.lines.append,
        )

    async def until(self, condition: Callable[[], bool], seconds: float = 15.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)

    async def echo(self, text: str) -> Echo:
        self.supervisor.send(Say(text=text))
        await self.until(lambda: any(message.text == text for message in self.messages))
        return next(message for message in self.messages if message.text == text)


@asynccontextmanager
async def running(config: SupervisorConfig = QUICK) -> AsyncIterator[Watched]:
    watched = Watched(config=config)
    await watched.supervisor.start()
    try:
        yield watched
    finally:
        await watched.supervisor.stop()
        assert watched.supervisor.state == "stopped"


@pytest.fixture(autouse=True)
def _source_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_messages_go_both_ways_and_what_was_sent_before_ready_arrives_first() -> None:
    async def scenario() -> None:
        async with running() as watched:
            assert watched.supervisor.state == "ready"
            assert [message.text for message in watched.messages] == ["loaded"]
            for index in range(200):
                watched.supervisor.send(Say(text=f"{index}" * 50))
            await watched.until(lambda: len(watched.messages) == 201)
            assert watched.messages[-1].pid == watched.supervisor.pid
        assert watched.downs == []
        assert gone(watched.messages[0].pid)

    run(scenario())


def test_a_killed_child_is_reported_and_replaced() -> None:
    async def scenario() -> None:
        async with running() as watched:
            first = (await watched.echo("one")).pid
            os.kill(first, signal.SIGKILL)
            await watched.until(lambda: len(watched.downs) == 1, seconds=2.0)
            assert watched.supervisor.state == "restarting"
            with pytest.raises(NotReady, match="restarting"):
                watched.supervisor.send(Say(text="lost"))
            await watched.until(lambda: watched.supervisor.state == "ready")
            assert (await watched.echo("two")).pid != first
            assert str(watched.downs[0]) == "the engine process was killed by SIGKILL"
            assert watched.supervisor.num_restarts == 1

    run(scenario())


def test_a_stopped_child_is_a_hang() -> None:
    async def scenario() -> None:
        async with running() as watched:
            first = watched.supervisor.pid
            assert first is not None
            os.kill(first, signal.SIGSTOP)
            await watched.until(lambda: len(watched.downs) == 1, seconds=10.0)
            assert "no sign of life" in str(watched.downs[0])
            await watched.until(lambda: watched.supervisor.state == "ready")
            assert gone(first)

    run(scenario())


def test_a_loop_that_hangs_beside_a_living_heartbeat_is_a_hang() -> None:
    async def scenario() -> None:
        async with running() as watched:
            watched.supervisor.send(Order(name="hang"))
            await watched.until(lambda: len(watched.downs) == 1, seconds=10.0)
            assert "hung in one step" in str(watched.downs[0])

    run(scenario())


def test_an_idle_child_is_no_hang() -> None:
    async def scenario() -> None:
        async with running(SupervisorConfig(watchdog_s=0.8)) as watched:
            await asyncio.sleep(1.5)
            assert watched.downs == []

    run(scenario())


def test_a_parent_that_slept_does_not_blame_the_child() -> None:
    async def scenario() -> None:
        async with running(SupervisorConfig(watchdog_s=0.8)) as watched:
            time.sleep(1.5)
            await watched.echo("still here")
            assert watched.downs == []

    run(scenario())


@pytest.mark.parametrize(
    ("order", "text"),
    [
        (Order(name="exit", argument=7), "exited with code 7"),
        (Order(name="garbage"), "garbage on the channel"),
        (Order(name="fail"), "exited with code 3"),
    ],
    ids=lambda value: value.name if isinstance(value, Order) else "",
)
def test_every_other_end_is_reported_and_the_child_replaced(order: Order, text: str) -> None:
    async def scenario() -> None:
        async with running() as watched:
            watched.supervisor.send(order)
            await watched.until(lambda: len(watched.downs) == 1, seconds=5.0)
            assert text in str(watched.downs[0])
            await watched.until(lambda: watched.supervisor.state == "ready")
            await watched.echo("again")

    run(scenario())


def test_after_too_many_ends_it_stays_down() -> None:
    async def scenario() -> None:
        async with running() as watched:
            for _ in range(4):
                await watched.until(lambda: watched.supervisor.state == "ready")
                watched.supervisor.send(Order(name="exit"))
                await watched.until(lambda: watched.supervisor.state != "ready")
            await watched.until(lambda: watched.supervisor.state == "stopped")
            assert (len(watched.downs), watched.supervisor.num_restarts) == (4, 3)

    run(scenario())


@pytest.mark.parametrize(
    ("mode", "error", "text"),
    [
        ("model-error", ModelError, "no config.json in the folder"),
        ("crash", ExecutionError, "a bug while loading"),
        ("never-ready", ExecutionError, "not ready in 1 s"),
    ],
)
def test_a_child_that_cannot_start_says_why_and_leaves_nothing(mode: str, error: type[Exception], text: str) -> None:
    async def scenario() -> None:
        watched = Watched(mode, SupervisorConfig(start_timeout_s=1.0 if mode == "never-ready" else 20.0))
        with pytest.raises(error, match=text):
            await watched.supervisor.start()
        assert watched.supervisor.state == "stopped"
        assert watched.downs == []
        assert watched.supervisor.pid is not None
        assert gone(watched.supervisor.pid)
        await watched.supervisor.stop()

    run(scenario())


def test_a_command_that_does_not_exist_is_a_resource_error() -> None:
    async def scenario() -> None:
        supervisor = Supervisor(["/nonexistent/python"], Echo, print, print)
        with pytest.raises(ResourceError, match="cannot start /nonexistent/python"):
            await supervisor.start()

    run(scenario())


def test_drain_lets_the_work_end() -> None:
    async def scenario() -> None:
        async with running() as watched:
            watched.supervisor.send(Order(name="slow", argument=0.5))
            draining = asyncio.create_task(watched.supervisor.drain(10.0))
            await asyncio.sleep(0.05)
            assert watched.supervisor.state == "draining"
            await draining
            assert [message.text for message in watched.messages] == ["loaded", "slow"]
            assert watched.downs == []

    run(scenario())


def test_drain_has_an_end_and_a_death_while_draining_is_told() -> None:
    async def scenario() -> None:
        async with running() as watched:
            watched.supervisor.send(Order(name="hang"))
            await watched.supervisor.drain(0.2)
            assert watched.supervisor.state == "stopped"
        async with running() as watched:
            watched.supervisor.send(Order(name="slow", argument=1000.0))
            draining = asyncio.create_task(watched.supervisor.drain(10.0))
            await asyncio.sleep(0.1)
            assert watched.supervisor.pid is not None
            os.kill(watched.supervisor.pid, signal.SIGKILL)
            await draining
            assert len(watched.downs) == 1

    run(scenario())


def test_stop_while_loading_ends_start_and_child() -> None:
    async def scenario() -> None:
        watched = Watched("never-ready")
        starting = asyncio.create_task(watched.supervisor.start())
        await watched.until(lambda: watched.supervisor.pid is not None)
        await watched.supervisor.stop()
        with pytest.raises(NotReady, match="stopped while it was loading"):
            await starting
        assert watched.supervisor.pid is not None
        assert gone(watched.supervisor.pid)

    run(scenario())


def test_what_the_child_started_ends_with_it() -> None:
    async def scenario() -> None:
        async with running() as watched:
            watched.supervisor.send(Order(name="grandchild"))
            await watched.until(lambda: watched.messages[-1].text == "grandchild")
            grandchild = watched.messages[-1].pid
            assert not gone(grandchild)
            os.kill(watched.supervisor.pid or 0, signal.SIGKILL)
            await watched.until(lambda: gone(grandchild), seconds=2.0)

    run(scenario())


def test_every_child_is_greeted_and_large_messages_are_not_piled_up() -> None:
    async def scenario() -> None:
        watched = Watched(greeting=lambda: [Say(text="hello"), Say(text="again")])
        await watched.supervisor.start()
        await watched.until(lambda: len(watched.messages) == 3)
        for _ in range(8):
            watched.supervisor.send(Say(text="x" * 2_000_000))
            await watched.supervisor.writable()
        await watched.until(lambda: len(watched.messages) == 11)
        os.kill(watched.supervisor.pid or 0, signal.SIGKILL)
        await watched.until(lambda: len(watched.messages) == 14)
        assert [message.text for message in watched.messages[-3:]] == ["loaded", "hello", "again"]
        watched.supervisor.send(Order(name="hang"))
        for _ in range(4):
            watched.supervisor.send(Say(text="x" * 2_000_000))
        waiting = asyncio.create_task(watched.supervisor.writable())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        os.kill(watched.supervisor.pid or 0, signal.SIGKILL)
        await waiting  # what is lost is waited for no longer
        await watched.supervisor.stop()
        await watched.supervisor.writable()

    run(scenario())


def test_output_is_passed_on_and_its_end_kept() -> None:
    async def scenario() -> None:
        async with running() as watched:
            watched.supervisor.send(Order(name="print"))
            await watched.until(lambda: watched.lines == ["one", "two"])
            assert watched.supervisor.output_tail == ("one", "two")

    run(scenario())


PARENT = """
import asyncio, sys
from paceline.process.supervisor import Supervisor
from tests.process.children import Echo
async def main():
    supervisor = Supervisor([sys.executable, sys.argv[1], "good"], Echo, lambda m: print(m.pid, flush=True), print)
    await supervisor.start()
    await asyncio.sleep(1000)
asyncio.run(main())
"""


def test_the_child_ends_when_its_parent_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{SOURCE}{os.pathsep}{SOURCE.parent}")
    children = Path(__file__).with_name("children.py")
    with subprocess.Popen([sys.executable, "-c", PARENT, str(children)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not gone(child)
        parent.kill()
    last = time.monotonic() + 5.0
    while not gone(child) and time.monotonic() < last:
        time.sleep(0.01)
    assert gone(child)


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="watchdog_s must be > 0"):
        SupervisorConfig(watchdog_s=0.0)
    with pytest.raises(ConfigError, match="max_restarts must be >= 0"):
        SupervisorConfig(max_restarts=-1)

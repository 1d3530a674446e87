"""Keeps one child process at work: start, watch, restart, drain, stop.

The parent's event loop owns the supervisor. Whatever happens to the child - it exits, is killed,
hangs, or talks garbage - the parent is told once by ``on_down``, within about half a second of an
exit and ``watchdog_s`` of a hang, and the child is started again, a bounded number of times.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, Generic, Literal, TypeVar, final

from paceline.errors import ConfigError, EngineDied, ExecutionError, NotReady, PacelineError
from paceline.process.spawn import ChildProcess

In = TypeVar("In")

State = Literal["loading", "ready", "restarting", "draining", "stopped"]

_TICK_S = 0.25
_OVERSLEPT_S = 1.0  # a tick that late: the parent itself was stopped or starved


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorConfig:
    """How patient a supervisor is."""

    start_timeout_s: float = 120.0  # from the start of the process to its ready frame
    watchdog_s: float = 10.0  # silence, or one step of its loop, that counts as a hang
    max_restarts: int = 3  # tries within restart_window_s before it stays down
    restart_window_s: float = 60.0
    backoff_s: float = 0.2  # before the first try; doubles with every further one in the window
    term_grace_s: float = 2.0  # between SIGTERM and SIGKILL

    def __post_init__(self) -> None:
        for name in ("start_timeout_s", "watchdog_s", "restart_window_s"):
            if getattr(self, name) <= 0.0:
                raise ConfigError(f"{name} must be > 0, got {getattr(self, name)}")
        for name in ("max_restarts", "backoff_s", "term_grace_s"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be >= 0, got {getattr(self, name)}")


def to_stderr(line: str) -> None:
    """What a child prints goes where this process complains."""
    sys.stderr.write(line + "\n")


@final
class Supervisor(Generic[In]):
    """Runs ``command`` as a child that speaks frames (see ``paceline.process.child``).

    ``receives`` is the type of the child's messages, several as a union of tagged structs.
    ``greeting`` gives what every new child is told first, before it says that it is ready.
    ``on_message`` and ``on_down`` are called in the event loop and must not block. The text of
    the error given to ``on_down`` holds nothing internal; ``output_tail`` has what the child printed.
    """

    def __init__(
        self,
        command: Sequence[str],
        receives: type[In] | UnionType,
        on_message: Callable[[In], None],
        on_down: Callable[[EngineDied], None],
        *,
        name: str = "engine",
        greeting: Callable[[], Iterable[object]] = tuple,
        config: SupervisorConfig | None = None,
        on_output: Callable[[str], None] = to_stderr,
    ) -> None:
        self.state: State = "stopped"
        self.num_restarts = 0
        self.last_error: PacelineError | None = None  # why it was last down or could not start
        self._command = tuple(command)
        self._receives = receives
        self._on_message = on_message
        self._on_down = on_down
        self._on_output = on_output
        self._name = name
        self._greeting = greeting
        self._config = config or SupervisorConfig()
        self._child: ChildProcess[In] | None = None
        self._task: asyncio.Task[None] | None = None
        self._restarts: deque[float] = deque()

    @property
    def pid(self) -> int | None:
        """Process id of the child, if there is one."""
        return None if self._child is None else self._child.pid

    @property
    def output_tail(self) -> tuple[str, ...]:
        """The last lines that the child (the present or the last one) printed."""
        return () if self._child is None else tuple(self._child.output.tail)

    async def start(self) -> None:
        """Starts the child and returns once it is ready.

        Raises what the child said it failed of (a ModelError stays a ModelError), ExecutionError
        if it ended or was not ready in time, ResourceError if it could not be started.
        """
        assert self._task is None or self._task.done(), "started twice"
        self.state = "loading"
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(started), name=f"supervisor of {self._name}")
        try:
            await started
        except asyncio.CancelledError:
            await self.stop()
            raise

    def send(self, message: object) -> None:
        """Queues a message for the child; NotReady when there is none to take it."""
        child = self._child
        if child is None or child.down.done() or self.state not in ("ready", "draining"):
            raise NotReady(f"the {self._name} is {self.state}")
        child.send(message)

    async def writable(self) -> None:
        """Waits while more lies in the queue to the child than is good; call it between large messages."""
        if self._child is not None:
            await self._child.writable()

    async def drain(self, timeout_s: float) -> None:
        """Lets the child finish its work, for at most ``timeout_s``, then stops it."""
        if self.state == "ready" and self._child is not None and self._task is not None:
            self.state = "draining"
            self._child.ask_to_drain()
            await asyncio.wait({self._task}, timeout=timeout_s)
        await self.stop()

    async def stop(self) -> None:
        """Ends the child by SIGTERM, then SIGKILL. Can be called at any time, also twice."""
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        self.state = "stopped"

    # -- the task that owns every child ----------------------------------------------------------

    async def _run(self, started: asyncio.Future[None]) -> None:
        try:
            await self._launch()
            self.state = "ready"
            if not started.done():
                started.set_result(None)
            while await self._until_down() and await self._restart():
                self.state = "ready"
        except PacelineError as error:
            self.last_error = error
            if not started.done():
                started.set_exception(error)
        finally:
            self.state = "stopped"
            if not started.done():
                started.set_exception(NotReady(f"the {self._name} was stopped while it was loading"))
            if self._child is not None:
                await self._child.end(self._config.term_grace_s)

    async def _launch(self) -> None:
        """Spawns a child and waits until it is ready; leaves none behind if it fails."""
        child = self._child = await ChildProcess.spawn(self._command, self._receives, self._on_message, self._on_output)
        for message in self._greeting():
            child.send(message)
        events: list[asyncio.Future[Any]] = [child.ready, child.down]
        await asyncio.wait(events, timeout=self._config.start_timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if child.ready.done() and not child.down.done():
            child.excuse()
            return
        reason = child.down.result() if child.down.done() else f"not ready in {self._config.start_timeout_s:g} s"
        how = await child.end()
        if child.failure is not None:
            raise child.failure
        lines = "".join(f"\n  {line}" for line in child.output.tail)
        raise ExecutionError(f"the {self._name} did not start: it {reason or how}{lines}")

    async def _until_down(self) -> bool:
        """Watches the child to its end and reports it. True if it is to be started again."""
        child = self._child
        assert child is not None
        loop = asyncio.get_running_loop()
        while not child.down.done():
            before = loop.time()
            await asyncio.wait({child.down}, timeout=_TICK_S)
            if loop.time() - before > _TICK_S + _OVERSLEPT_S:
                child.excuse()
            self._look_after(child)
        reason = child.down.result()
        how = await child.end()
        if self.state == "draining" and how == "exited with code 0":
            return False
        again = self.state != "draining"
        self.state = "restarting" if again else "stopped"
        died = EngineDied(f"the {self._name} process {reason or how}")
        self.last_error = child.failure or died
        self._on_down(died)
        return again

    def _look_after(self, child: ChildProcess[In]) -> None:
        patience_s = self._config.watchdog_s
        if child.exited:
            child.give_up("")
        elif child.silent_s > patience_s:
            child.give_up(f"gave no sign of life for {patience_s:g} s")
        elif child.stalled_s > patience_s:
            child.give_up(f"hung in one step for more than {patience_s:g} s")

    async def _restart(self) -> bool:
        """Starts a new child, with growing pauses. False when the tries are used up."""
        loop = asyncio.get_running_loop()
        while True:
            while self._restarts and loop.time() - self._restarts[0] > self._config.restart_window_s:
                self._restarts.popleft()
            if len(self._restarts) >= self._config.max_restarts:
                return False
            await asyncio.sleep(self._config.backoff_s * 2 ** len(self._restarts))
            self._restarts.append(loop.time())
            self.num_restarts += 1
            try:
                await self._launch()
            except PacelineError as error:
                self.last_error = error
            else:
                return True

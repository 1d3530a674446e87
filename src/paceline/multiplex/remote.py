"""The models behind a process boundary: what a server talks to. Imports no torch.

They run in a child process under a supervisor. When it dies or hangs, every open request gets ``EngineDied``,
the supervisor starts it again with the same models, and the port that the server holds stays open.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, final

import msgspec

from paceline.errors import EngineDied, ExecutionError, InvalidRequest, ModelError, NotReady, PacelineError
from paceline.multiplex.config import MultiplexConfig
from paceline.multiplex.messages import (
    Answer,
    Answers,
    Array,
    AskStats,
    Cancel,
    FromEngine,
    Infer,
    Load,
    Loaded,
    NotLoaded,
    Piece,
    Pieces,
    Refused,
    RuntimeStats,
    Serve,
    Stats,
    TenantInfo,
    error_of,
    pack,
)
from paceline.process.asked import Asked
from paceline.process.supervisor import State, Supervisor, SupervisorConfig, to_stderr

T = TypeVar("T")

WORKER = "paceline.multiplex.worker"
_PATIENT = SupervisorConfig(start_timeout_s=600.0)  # hundreds of models are loaded before it is ready


@final
class MultiplexProcess:
    """Starts, watches and talks to one process with many models.

    ``folders`` names the folder of each model. ``worker`` is the module that the process runs.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        config: MultiplexConfig | None = None,
        *,
        supervision: SupervisorConfig | None = None,
        on_output: Callable[[str], None] = to_stderr,
        worker: str = WORKER,
    ) -> None:
        self.models: dict[str, TenantInfo] = {}  # loaded at least once
        self.failures: dict[str, str] = {}  # of those that could not be loaded, why
        self._folders = {name: str(folder) for name, folder in folders.items()}
        self._loading: dict[str, asyncio.Future[TenantInfo]] = {}
        self._open: dict[int, asyncio.Future[list[Array]]] = {}
        self._numbers = itertools.count()
        self._pieces = Pieces()
        self._stats: Asked[RuntimeStats] = Asked()
        command = [sys.executable, "-m", worker, msgspec.json.encode(config or MultiplexConfig()).decode()]
        self._supervisor: Supervisor[FromEngine] = Supervisor(
            command, FromEngine, self._on_message, self._fail_all, greeting=self._greeting, config=supervision or _PATIENT,
            on_output=on_output,
        )  # fmt: skip

    @property
    def state(self) -> State:
        return self._supervisor.state

    @property
    def pid(self) -> int | None:
        """Process id of the engine, if it runs."""
        return self._supervisor.pid

    @property
    def num_restarts(self) -> int:
        return self._supervisor.num_restarts

    @property
    def num_open(self) -> int:
        """Requests that were sent and have not ended."""
        return len(self._open)

    async def start(self) -> None:
        """Returns when every model is loaded. ModelError, naming the model, if one cannot be; ExecutionError.

        A model that cannot be loaded again after a restart is in ``failures`` while the others go on.
        """
        await self._supervisor.start()
        if self.failures:
            await self.stop()
            raise ModelError("; ".join(f"model {name!r}: {reason}" for name, reason in self.failures.items()))

    async def load(self, name: str, folder: Path) -> TenantInfo:
        """Adds a model, also to those that are loaded again after a restart. ModelError, NotReady, EngineDied."""
        if name in self._loading or name in self.models:
            raise InvalidRequest(f"there is a model {name!r} already", param="name")
        future: asyncio.Future[TenantInfo] = asyncio.get_running_loop().create_future()
        self._supervisor.send(Load(name, str(folder)))
        self._loading[name] = future
        info = await future
        self._folders[name] = str(folder)
        return info

    async def infer(
        self, model: str, inputs: Sequence[Array], *, deadline_s: float | None = None, priority: int = 0
    ) -> list[Array]:
        """The outputs of ``model``. To cancel the call is to cancel the request.

        Raises what the engine answered instead, NotReady when there is none, EngineDied when it is lost.
        """
        number = next(self._numbers)
        answer: asyncio.Future[list[Array]] = asyncio.get_running_loop().create_future()
        self._open[number] = answer
        try:
            ahead, tensors = pack(number, inputs)
            last = Infer(id=number, model=model, inputs=tensors, deadline_s=deadline_s, priority=priority)
            await self._send(itertools.chain(ahead, (last,)), answer)
            return await answer
        finally:
            if self._open.pop(number, None) is not None:
                self._cancel(number)

    async def _send(self, messages: Iterable[Piece | Infer], answer: asyncio.Future[list[Array]]) -> None:
        """Sends what makes up one request. Where the engine is lost in between it ends, and so does ``answer``."""
        begun = False
        for message in messages:
            if answer.done():  # the rest must not reach the next engine
                return
            try:
                self._supervisor.send(message)
            except NotReady:
                if not begun:
                    raise
                return
            begun = True
            await self._supervisor.writable()

    def _cancel(self, number: int) -> None:
        self._pieces.drop(number)
        with contextlib.suppress(NotReady):
            self._supervisor.send(Cancel(number))

    async def stats(self) -> RuntimeStats:
        """Counters and gauges of the engine; NotReady when there is none."""
        return await self._stats.ask(self._supervisor.send, AskStats())

    async def stop(self, drain_s: float = 0.0) -> None:
        """Lets open requests finish for at most ``drain_s`` seconds, then ends the process."""
        await (self._supervisor.drain(drain_s) if drain_s > 0 else self._supervisor.stop())
        self._fail_all(EngineDied("the engine was stopped"))

    def _greeting(self) -> Iterator[Load | Serve]:
        for name, folder in self._folders.items():
            yield Load(name, folder)
        yield Serve()

    def _on_message(self, message: FromEngine) -> None:
        match message:
            case Answers(answers):
                for answer in answers:
                    self._settle(answer)
            case Refused():
                self._fail(message.id, error_of(message))
            case Piece():
                if message.id in self._open:
                    self._pieces.add(message)
            case Stats(stats):
                self._stats.answer(stats)
            case Loaded() | NotLoaded():
                self._on_load(message)

    def _on_load(self, message: Loaded | NotLoaded) -> None:
        if isinstance(message, Loaded):
            name = message.info.name
            self.models[name] = message.info
            self.failures.pop(name, None)
            if future := self._loading.pop(name, None):
                _resolve(future, message.info)
        elif future := self._loading.pop(message.name, None):
            _resolve(future, ModelError(message.message))
        else:
            self.failures[message.name] = message.message

    def _settle(self, answer: Answer) -> None:
        if future := self._open.pop(answer.id, None):
            try:
                _resolve(future, self._pieces.unpack(answer.id, answer.outputs))
            except ExecutionError as error:
                _resolve(future, error)

    def _fail(self, number: int, error: PacelineError) -> None:
        self._pieces.drop(number)
        if future := self._open.pop(number, None):
            _resolve(future, error)

    def _fail_all(self, died: EngineDied) -> None:
        for number in list(self._open):
            self._fail(number, EngineDied(str(died)))
        for future in self._loading.values():
            _resolve(future, EngineDied(str(died)))
        self._loading.clear()
        self._stats.fail(lambda: NotReady(str(died)))


def _resolve(future: asyncio.Future[T], outcome: T | PacelineError) -> None:
    """Ends a wait, unless nobody waits any more."""
    if future.done():
        return
    if isinstance(outcome, PacelineError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)

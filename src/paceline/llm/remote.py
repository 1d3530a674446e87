"""The engine behind a process boundary: what a server talks to. Imports no torch.

The engine runs in a child process under a supervisor. When it dies or hangs, every open request
gets ``EngineDied``, the supervisor starts it again, and the port that the server holds stays open.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from typing import final

import msgspec

from paceline.errors import EngineDied, InvalidRequest, NotReady, PacelineError, QueueFull
from paceline.llm.config import EngineConfig
from paceline.llm.messages import (
    Abort,
    AskSpeculation,
    AskStats,
    Deltas,
    EngineStats,
    FromEngine,
    Loaded,
    ModelInfo,
    Refused,
    Speculation,
    SpeculationReport,
    Stats,
    Submit,
)
from paceline.llm.request import Delta, Request
from paceline.process.asked import Asked
from paceline.process.supervisor import State, Supervisor, SupervisorConfig, to_stderr


@final
class DeltaStream(AsyncIterator[Delta]):
    """The deltas of one request, all its samples mixed, until each has a finish reason.

    Iterating raises what the engine answered instead (``InvalidRequest``, ``QueueFull``) or
    ``EngineDied``. ``aclose`` before the end aborts the request.
    """

    def __init__(self, engine: EngineProcess, request: Request) -> None:
        self._engine = engine
        self._request_id = request.request_id
        self._num_open = request.params.n
        self._queue: asyncio.Queue[Delta | PacelineError] = asyncio.Queue()

    def put(self, item: Delta | PacelineError) -> None:
        self._queue.put_nowait(item)

    async def __anext__(self) -> Delta:
        if self._num_open == 0:
            raise StopAsyncIteration
        item = await self._queue.get()
        if isinstance(item, PacelineError):
            self._end()
            raise item
        if item.finish_reason is not None:
            self._num_open -= 1
            if self._num_open == 0:
                self._end()
        return item

    async def aclose(self) -> None:
        """Aborts the request unless it has ended. Can be called twice."""
        if self._num_open:
            self._end()
            await self._engine.abort(self._request_id)

    def _end(self) -> None:
        self._num_open = 0
        self._engine.forget(self._request_id)


@final
class EngineProcess:
    """Starts, watches and talks to one engine process."""

    def __init__(
        self,
        config: EngineConfig,
        *,
        supervision: SupervisorConfig | None = None,
        on_output: Callable[[str], None] = to_stderr,
    ) -> None:
        self._info: ModelInfo | None = None
        self._streams: dict[str, DeltaStream] = {}
        self._stats: Asked[EngineStats] = Asked()
        self._reports: Asked[SpeculationReport | None] = Asked()
        command = [sys.executable, "-m", "paceline.llm.worker", msgspec.json.encode(config).decode()]
        self._supervisor: Supervisor[FromEngine] = Supervisor(
            command, FromEngine, self._on_message, self._on_down, config=supervision, on_output=on_output
        )

    @property
    def info(self) -> ModelInfo:
        """The loaded model; NotReady before it is."""
        if self._info is None:
            raise NotReady("the model is loading")
        return self._info

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
        """Requests that were submitted and have not ended."""
        return len(self._streams)

    async def start(self) -> None:
        """Returns when the model is loaded; raises ModelError, ResourceError or ExecutionError if it cannot be."""
        await self._supervisor.start()

    def submit(self, request: Request) -> DeltaStream:
        """Sends a request; ``NotReady`` at once when no engine can take it."""
        if request.request_id in self._streams:
            raise InvalidRequest(f"request id {request.request_id!r} is in use", param="request_id")
        self._supervisor.send(Submit(request))
        stream = DeltaStream(self, request)
        self._streams[request.request_id] = stream
        return stream

    async def abort(self, request_id: str) -> None:
        """Ends a request wherever it is; unknown ids and dead engines are ignored."""
        self.forget(request_id)
        with contextlib.suppress(NotReady):
            self._supervisor.send(Abort(request_id))

    def forget(self, request_id: str) -> None:
        """Drops the book-keeping of a request that has ended."""
        self._streams.pop(request_id, None)

    async def stats(self) -> EngineStats:
        """Counters and gauges of the engine; NotReady when there is none."""
        return await self._stats.ask(self._supervisor.send, AskStats())

    async def speculation(self) -> SpeculationReport | None:
        """What is drafted and why, None if that is switched off; NotReady when there is no engine."""
        return await self._reports.ask(self._supervisor.send, AskSpeculation())

    async def stop(self, drain_s: float = 0.0) -> None:
        """Lets open requests finish for at most ``drain_s`` seconds, then ends the process."""
        await (self._supervisor.drain(drain_s) if drain_s > 0 else self._supervisor.stop())
        self._fail_all(EngineDied("the engine was stopped"))

    def _on_message(self, message: FromEngine) -> None:
        match message:
            case Deltas(deltas):
                for delta in deltas:
                    if stream := self._streams.get(delta.request_id):
                        stream.put(delta)
            case Refused(request_id=request_id):
                if stream := self._streams.get(request_id):
                    stream.put(_refusal(message))
            case Stats(stats):
                self._stats.answer(stats)
            case Speculation(report):
                self._reports.answer(report)
            case Loaded(info):
                self._info = info

    def _on_down(self, died: EngineDied) -> None:
        self._fail_all(died)

    def _fail_all(self, error: EngineDied) -> None:
        for stream in list(self._streams.values()):
            stream.put(EngineDied(str(error)))
        self._streams.clear()
        self._stats.fail(lambda: NotReady(str(error)))
        self._reports.fail(lambda: NotReady(str(error)))


def _refusal(message: Refused) -> PacelineError:
    if message.retry_after_s is not None:
        return QueueFull(message.message, retry_after_s=message.retry_after_s)
    return InvalidRequest(message.message, param=message.param, code=message.code)

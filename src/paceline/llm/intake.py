"""Requests on their way into the engine's loop: grammars compile beside it, so that nobody's stream waits."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import final

from paceline.errors import InvalidRequest, NotReady, QueueFull, RejectedError
from paceline.llm.core import EngineCore
from paceline.llm.messages import Deltas, Refused
from paceline.llm.request import Delta, Request
from paceline.llm.structured import Matcher

_log = logging.getLogger(__name__)

_THREADS = 2
_MAX_COMPILING = 256  # a hostile grammar takes seconds, and whoever waits behind it waits for all
_POLL_S = 0.002  # how soon the loop looks again while something compiles and nothing runs


@final
class Intake:
    """Takes requests in and answers with the refusals. Belongs to the thread that steps the core."""

    def __init__(self, core: EngineCore) -> None:
        self._core = core
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="grammar")
        self._compiling: dict[str, tuple[Request, Future[Matcher | None]]] = {}
        self._threads.submit(core.warm_up)

    @property
    def idle(self) -> bool:
        return not self._compiling

    @property
    def patience_s(self) -> float | None:
        """How long an idle loop may wait for messages; None: for ever."""
        return _POLL_S if self._compiling else None

    def put(self, request: Request) -> Refused | None:
        """Submits a request, at once or after its grammar is compiled; the refusal, if it is known now."""
        if request.params.grammar is None:
            return self._submit(request)
        if request.request_id in self._compiling:
            return _refused(request, InvalidRequest(f"request id {request.request_id!r} is in use", param="request_id"))
        if len(self._compiling) >= _MAX_COMPILING:
            return _refused(request, QueueFull(f"{_MAX_COMPILING} grammars are waiting to be compiled already"))
        self._compiling[request.request_id] = request, self._threads.submit(self._core.warm, request)
        return None

    def settle(self) -> Iterator[Refused | Deltas]:
        """Submits the requests whose grammars are ready; what to tell those that the engine does not take."""
        for request, future in list(self._compiling.values()):
            if not future.done():
                continue
            del self._compiling[request.request_id]
            error = future.exception()
            if isinstance(error, RejectedError):
                yield _refused(request, error)
            elif error is not None:
                _log.error("a grammar could not be compiled", exc_info=error)
                yield _failed(request)
            elif refused := self._submit(request, future.result()):
                yield refused

    def abort(self, request_id: str) -> None:
        """Ends a request, wherever it is."""
        if request_id in self._compiling:
            _, future = self._compiling.pop(request_id)
            future.cancel()  # nobody behind it shall wait for what nobody wants
        self._core.abort(request_id)

    def _submit(self, request: Request, matcher: Matcher | None = None) -> Refused | None:
        try:
            self._core.submit(request, matcher)
        except RejectedError as error:
            return _refused(request, error)
        return None


def _failed(request: Request) -> Deltas:
    error = "the grammar could not be compiled"
    samples = range(request.params.n)
    return Deltas([Delta(request_id=request.request_id, index=i, finish_reason="error", error=error) for i in samples])


def _refused(request: Request, error: RejectedError) -> Refused:
    match error:
        case QueueFull() | NotReady():
            return Refused(request_id=request.request_id, message=str(error), retry_after_s=error.retry_after_s)
        case InvalidRequest():
            return Refused(request_id=request.request_id, message=str(error), param=error.param, code=error.code)
    raise error

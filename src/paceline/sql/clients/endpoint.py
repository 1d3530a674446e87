"""A language model behind the OpenAI API: one server, or several that hold the same model."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import asdict
from queue import SimpleQueue
from typing import Any, Final, TypeVar, final

import httpx2

from paceline.clock import WallClock
from paceline.errors import ConfigError
from paceline.sql.clients.chat import Dialect
from paceline.sql.clients.exchange import Endpoint, Exchange, replicas
from paceline.sql.clients.pacing import Pacer, PacingOptions
from paceline.sql.model import Answer, Ask
from paceline.sql.spread import ModelSpec

T = TypeVar("T")

MAX_DRAWN: Final = 256  # requests taken from the caller ahead of their answers: where followers wait, leaders are found
MAX_DRAWN_CHARS: Final = 16 << 20

_CHARS_PER_TOKEN: Final = 4  # of English, with the usual tokenizers
_CLOSE_S: Final = 10.0


@final
class EndpointModel:
    """A model served at ``url``: ``http://host:port``, with or without ``/v1``; several URLs are replicas.

    ``api_key`` is that of the environment, ``OPENAI_API_KEY``, unless given. ``timeout_s`` is for one attempt,
    ``patience_s`` for a time without any answer, ``max_attempts`` for one request; refusals because the server is busy
    do not count. ``seed`` makes the pauses between attempts repeatable. Raises ConfigError for an option that is wrong.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        model: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 120.0,
        patience_s: float = 300.0,
        max_attempts: int = 5,
        pacing: PacingOptions | Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> None:
        for name, value in (("timeout_s", timeout_s), ("patience_s", patience_s), ("max_attempts", max_attempts)):
            if not value > 0:
                raise ConfigError(f"{name} must be > 0, got {value}")
        if not model:
            raise ConfigError("an endpoint needs the name of a model")
        key = os.environ.get("OPENAI_API_KEY") if api_key is None else api_key
        if key and not (key.isascii() and key.isprintable()):
            raise ConfigError("the API key holds characters that no header can carry")
        self._endpoint = Endpoint(
            urls=replicas(url), model=model, api_key=key or None,
            timeout_s=timeout_s, patience_s=patience_s, max_attempts=max_attempts,
        )  # fmt: skip
        self._options = pacing if isinstance(pacing, PacingOptions) else PacingOptions(**(pacing or {}))
        self._pacer = Pacer(len(self._endpoint.urls), self._options, seed)
        self._dialect = Dialect()
        self._lock = threading.Lock()  # one call at a time: they would only wait for each other's windows
        self._background: _Background | None = None

    @property
    def name(self) -> str:
        return self._endpoint.model

    def num_tokens(self, text: str) -> int:
        """An estimate: the server has the tokenizer."""
        return -(-len(text) // _CHARS_PER_TOKEN)

    def ask(self, asks: Iterable[Ask], done: Callable[[int, Answer], None]) -> None:
        """Sends requests, many at a time; see ``LanguageModel``. A second thread's call waits for the first."""
        with self._lock:
            if self._background is None:
                self._background = _Background(self._endpoint, self._options.max_window)
            with _Call(self._background, self._endpoint, self._pacer, self._dialect) as call:
                call.serve(asks, done)
            self._dialect = call.exchange.dialect

    def spec(self, num_clients: int) -> ModelSpec:
        """See ``Portable.spec``: each client has its part of the window."""
        options, endpoint = self._options, self._endpoint
        pacing = asdict(options) | {
            name: max(1, getattr(options, name) // num_clients) for name in ("max_window", "first_window")
        }
        arguments = {
            "url": list(endpoint.urls), "model": endpoint.model, "timeout_s": endpoint.timeout_s,
            "patience_s": endpoint.patience_s, "max_attempts": endpoint.max_attempts, "pacing": pacing,
        }  # fmt: skip
        return ModelSpec("endpoint", arguments, {"api_key": endpoint.api_key or ""})

    def close(self) -> None:
        """Closes the connections. Can be called twice."""
        with self._lock:
            if self._background is not None:
                self._background.close()
                self._background = None


class _Background:
    """A thread with an event loop and a client: the caller may have a loop of its own, as notebooks do."""

    def __init__(self, endpoint: Endpoint, max_window: int) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="paceline-endpoint", daemon=True)
        self._thread.start()
        self.client = self.run(_make_client(endpoint, max_window))

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """What a coroutine returns that runs in the loop, after all that the loop was told before."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout_s)

    def close(self) -> None:
        self.run(self.client.aclose(), _CLOSE_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_CLOSE_S)
        self.loop.close()


async def _make_client(endpoint: Endpoint, max_window: int) -> httpx2.AsyncClient:
    # Nothing compressed: a few bytes on the wire could unpack to more than memory holds.
    headers = {"accept-encoding": "identity", "content-type": "application/json"}
    if endpoint.api_key:
        headers["authorization"] = f"Bearer {endpoint.api_key}"
    most = max_window * len(endpoint.urls)
    limits = httpx2.Limits(max_connections=2 * most, max_keepalive_connections=most)  # the pacer is the limit
    return httpx2.AsyncClient(headers=headers, timeout=None, limits=limits)


class _Call:
    """One call of ``ask``: draws and hands over in the caller's thread, exchanges in the background."""

    def __init__(self, background: _Background, endpoint: Endpoint, pacer: Pacer, dialect: Dialect) -> None:
        self._background = background
        self._pacer = pacer
        self._inbox: SimpleQueue[tuple[int, Answer] | BaseException] = SimpleQueue()
        self.exchange = Exchange(
            endpoint, background.client, pacer, dialect, WallClock(), lambda *answered: self._inbox.put(answered)
        )
        self._task = background.run(self._start())

    def serve(self, asks: Iterable[Ask], done: Callable[[int, Answer], None]) -> None:
        source = enumerate(asks)
        drawn: dict[int, int] = {}  # number: characters
        exhausted = False
        while True:
            while not exhausted and len(drawn) < MAX_DRAWN and sum(drawn.values()) < MAX_DRAWN_CHARS:
                item = next(source, None)
                if item is None:
                    exhausted = True
                    break
                drawn[item[0]] = len(item[1].user)
                self._background.loop.call_soon_threadsafe(self.exchange.put, *item)
            if not drawn:
                return
            event = self._inbox.get()
            if isinstance(event, BaseException):
                raise event
            del drawn[event[0]]
            done(*event)

    def __enter__(self) -> _Call:
        return self

    def __exit__(self, *_: object) -> None:
        self._background.run(self._end(), _CLOSE_S)

    async def _start(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            await self.exchange.run()
        except BaseExceptionGroup as group:  # of what several requests met at once, the first is enough
            self._inbox.put(group.exceptions[0])

    async def _end(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        self._pacer.clear()

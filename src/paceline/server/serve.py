"""The composition root: engines, their parts and the application, on one port until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import resource
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast, final

import uvicorn

from paceline.errors import ConfigError, NotReady
from paceline.server.app import App
from paceline.server.guard import Guard, Hosts, Keys
from paceline.server.limits import Limits
from paceline.server.listen import base_url, is_loopback, listen
from paceline.server.logs import AccessLog, LogFormat, set_up_logs
from paceline.server.metrics import Compat
from paceline.server.part import Opening, Part
from paceline.server.port import Supervised
from paceline.server.traffic import Traffic
from paceline.server.wire import BoundedProtocol

_SPARE_FILES = 64  # descriptors kept for everything that is not a client's connection
_CLOSE_S = 1  # for connections to close after the last answer
_LOG = logging.getLogger("paceline.server")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Where to listen, who may come in, how much they may ask for. ConfigError if it would be unsafe."""

    host: str = "127.0.0.1"
    port: int = 8000  # 0: a free one
    api_keys: tuple[str, ...] = ()
    insecure: bool = False  # listen to other machines without a key
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    open_metrics: bool = False  # /metrics without a key
    metrics_compat: Compat = "none"
    limits: Limits = field(default_factory=Limits)
    log_format: LogFormat = "text"
    log_level: str = "info"

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"--port must be in [0, 65535], got {self.port}")
        if any(len(key) < 8 or not key.isascii() or not key.isprintable() for key in self.api_keys):
            raise ConfigError("an API key needs at least 8 printable ASCII characters; '--api-key auto' makes one")
        if not (is_loopback(self.host) or self.api_keys or self.insecure):
            raise ConfigError(
                f"--host {self.host} lets other machines in, and there is no API key: "
                "give --api-key (or '--api-key auto'), or say --insecure"
            )


def serve(options: ServeOptions, openings: Sequence[Opening], on_ready: Callable[[str], None]) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code: 0 if every open request could finish.

    ``on_ready`` gets the base URL once every engine is loaded. Raises ConfigError, ModelError or ResourceError.
    """
    sock = listen(options.host, options.port)
    set_up_logs(options.log_format, options.log_level)
    with sock:
        return asyncio.run(_serve(options, openings, sock, on_ready))


async def _serve(
    options: ServeOptions, openings: Sequence[Opening], sock: socket.socket, on_ready: Callable[[str], None]
) -> int:
    loading = asyncio.gather(*(opening.engine.start() for opening in openings))
    try:
        parts = await asyncio.gather(*(asyncio.to_thread(opening.open) for opening in openings))
        server = HttpServer(options, parts)
        _on_signals(server.on_signal)
        serving = asyncio.create_task(server.serve([sock]))
        await asyncio.wait((loading, serving), return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            with contextlib.suppress(NotReady):  # told to stop while it was loading
                await loading
                on_ready(base_url(sock))
        await serving
        return 0 if server.finished_all else 1
    finally:
        loading.cancel()
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(_CLOSE_S):
                await _stop(opening.engine for opening in openings)


async def _stop(engines: Iterable[Supervised]) -> None:
    await asyncio.gather(*(engine.stop(0.0) for engine in engines))


def open_app(options: ServeOptions, parts: Sequence[Part], traffic: Traffic) -> App:
    """The application of all parts behind the guard that ``options`` ask for."""
    guard = Guard(
        Keys(options.api_keys),
        Hosts(options.host, options.allowed_hosts),
        origins=options.allowed_origins,
        open_metrics=options.open_metrics,
    )
    return App(parts, traffic, guard, options.limits, AccessLog(_LOG))


@final
class HttpServer(uvicorn.Server):
    """uvicorn with our protocol and our way to stop: drain first, leave the port open meanwhile."""

    def __init__(self, options: ServeOptions, parts: Sequence[Part]) -> None:
        limits = options.limits
        self.traffic = Traffic()
        protocol = functools.partial(BoundedProtocol, limits)
        super().__init__(
            uvicorn.Config(
                open_app(options, parts, self.traffic),
                http=cast(Any, protocol),
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=_num_connections(limits),
                h11_max_incomplete_event_size=limits.header_bytes,
                timeout_keep_alive=cast(Any, limits.keep_alive_s),
                timeout_graceful_shutdown=_CLOSE_S,
            )
        )
        self.finished_all = True
        self._parts = parts
        self._drain_s = limits.drain_timeout_s
        self._draining: asyncio.Task[None] | None = None

    def on_signal(self) -> None:
        """First: answer what is open, refuse what is new. Second: leave now."""
        if self._draining is None:
            self._draining = asyncio.create_task(self.drain())
            return
        self._draining.cancel()
        self.finished_all = self.traffic.num_open == 0
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # what is cut now is no fault worth a trace
        self.force_exit = self.should_exit = True

    async def drain(self) -> None:
        """Lets open requests finish for at most the drain time, then stops the engine and ends ``serve``."""
        self.traffic.draining = True
        _LOG.info("draining", extra={"fields": {"open_requests": self.traffic.num_open}})
        self.finished_all = await self.traffic.idle(self._drain_s)
        await _stop(part.engine for part in self._parts)
        for part in self._parts:
            part.close()
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to whoever runs this server."""
        yield


def _num_connections(limits: Limits) -> int:
    num_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(limits.max_connections, num_files - _SPARE_FILES))


def _on_signals(handler: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, handler)

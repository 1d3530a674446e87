"""What every route works with, and the steps that all of them share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar, final

import msgspec

from paceline.errors import InvalidRequest
from paceline.llm.model.generation import GenerationDefaults
from paceline.server.body import decode_body
from paceline.server.exchange import Exchange
from paceline.server.faults import ClientGone, Refused, bad_request, unavailable
from paceline.server.limits import Limits
from paceline.server.metrics import Compat, Metrics
from paceline.server.port import LanguageEngine, PromptTemplate, TextCodec

T = TypeVar("T", bound=msgspec.Struct)
R = TypeVar("R")
P = ParamSpec("P")


@final
class TextThreads:
    """Runs work on long texts beside the event loop, so that streams keep their pace; short ones at once."""

    def __init__(self, limits: Limits) -> None:
        self._inline_chars = limits.inline_chars
        self._pool = ThreadPoolExecutor(limits.text_threads, thread_name_prefix="text")

    async def run(self, num_chars: int, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """``function(*args)``, which reads about ``num_chars`` characters."""
        if num_chars <= self._inline_chars:
            return function(*args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: function(*args, **kwargs))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


@final
class Traffic:
    """Counts open requests; while draining, lets no new ones in."""

    def __init__(self) -> None:
        self.draining = False
        self._num_open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def num_open(self) -> int:
        return self._num_open

    def enter(self) -> None:
        """Refused (503) while draining."""
        if self.draining:
            raise Refused(unavailable("the server is shutting down", "draining", 5.0))
        self._num_open += 1
        self._idle.clear()

    def leave(self) -> None:
        self._num_open -= 1
        if self._num_open == 0:
            self._idle.set()

    async def idle(self, timeout_s: float) -> bool:
        """Waits until nothing is open; False if that took longer."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One served model and what belongs to it."""

    engine: LanguageEngine
    codec: TextCodec
    template: PromptTemplate
    defaults: GenerationDefaults
    limits: Limits
    metrics: Metrics
    model_name: str
    metrics_compat: Compat = "none"
    traffic: Traffic = field(default_factory=Traffic)
    created: int = field(default_factory=lambda: int(time.time()))
    threads: TextThreads = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "threads", TextThreads(self.limits))

    async def read(self, exchange: Exchange, kind: type[T]) -> T:
        """The body as a ``kind``, sent by a client that means this model."""
        try:
            raw = await exchange.read_json()
        except ClientGone:
            self.metrics.aborted("body")
            raise
        body = decode_body(kind, raw, self.limits)
        asked = getattr(body, "model", None)
        if asked is not None and asked != self.model_name:
            message = f"this server has no such model; it serves {self.model_name}"
            raise bad_request(message, "model", status=404, code="model_not_found")
        return body

    async def encode(
        self, text: str, param: str, *, allow_special: bool = False, add_special: bool = False
    ) -> list[int]:
        """Token ids of a text. InvalidRequest if it cannot fit the model's context."""
        limit = self.engine.info.max_model_len
        if not self.codec.may_fit(text, limit):
            message = f"the prompt is longer than the model's context of {limit} tokens"
            raise InvalidRequest(message, param=param, code="context_length_exceeded")
        return await self.threads.run(
            len(text), self.codec.encode, text, allow_special=allow_special, add_special=add_special
        )

    def timeout_s(self, asked: float | None) -> float:
        """A request's own limit in seconds, bounded by the server's."""
        longest = self.limits.request_timeout_s
        if asked is None:
            return longest
        if not 0 < asked <= longest:
            raise InvalidRequest(f"timeout must be in (0, {longest:g}] seconds, got {asked}", param="timeout")
        return asked

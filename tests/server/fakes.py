"""A server's surroundings without a model: bytes for tokens, and an engine whose next token is a hash of the prefix."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from paceline.errors import EngineDied, InvalidRequest, NotReady, QueueFull
from paceline.llm.messages import EngineStats, ModelInfo, SpeculationReport
from paceline.llm.model.generation import GenerationDefaults
from paceline.llm.request import Delta, Request, TokenLogprob
from paceline.process.supervisor import State
from paceline.server.language_part import LanguagePart
from paceline.server.limits import Limits
from paceline.server.listen import base_url, listen
from paceline.server.metrics import Metrics
from paceline.server.part import Part
from paceline.server.serve import HttpServer, ServeOptions
from paceline.server.service import Service

EOS = 256
NAME = "fake-model"


class ByteCodec:
    """One token per byte; special tokens do not exist."""

    def encode(self, text: str, *, allow_special: bool = False, add_special: bool = False) -> list[int]:
        return list(text.encode())

    def decode(self, token_ids: Sequence[int]) -> str:
        return bytes(token_id for token_id in token_ids if token_id < 256).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        return bytes([token_id]) if token_id < 256 else b"<eos>"

    def may_fit(self, text: str, num_tokens: int) -> bool:
        return len(text) <= num_tokens


class LineTemplate:
    """``role: content`` lines."""

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        /,
        *,
        add_generation_prompt: bool = True,
        **arguments: Any,
    ) -> str:
        for name in arguments:
            if name in ("messages", "tools", "tokenize"):
                raise InvalidRequest("reserved", param="chat_template_kwargs", code="reserved_name")
        lines = [f"{message['role']}: {message.get('content', '')}" for message in messages]
        head = [json.dumps(list(tools))] if tools else []
        return "\n".join([*head, *lines, "assistant: " if add_generation_prompt else ""])


class FakeEngine:
    """Continues any prompt with lower-case letters, one per ``step_s``; ``reply`` replaces them by a text."""

    def __init__(self, *, step_s: float = 0.0, max_open: int = 256, max_model_len: int = 4096) -> None:
        self.step_s = step_s
        self.max_open = max_open
        self.state: State = "ready"
        self.num_restarts = 0
        self.reply: str | None = None
        self.failure: Exception | None = None  # raised by the first step of every request
        self.last_delta: dict[str, Any] = {}  # fields that replace those of every last delta
        self.report: SpeculationReport | None = None  # None: speculation is off
        self.requests: list[Request] = []
        self.open: set[str] = set()
        self.aborted: list[str] = []
        self._max_model_len = max_model_len

    @property
    def info(self) -> ModelInfo:
        if self.state == "loading":
            raise NotReady("the model is loading")
        return ModelInfo(
            name=NAME, folder="/secret/folder", family="fake", runner="fake", dtype="float32", quantize=None,
            max_model_len=self._max_model_len, vocab_size=257, num_blocks=100, weights_bytes=0, kv_bytes=0,
        )  # fmt: skip

    async def start(self) -> None:
        self.state = "ready"

    def submit(self, request: Request) -> FakeSource:
        if self.state != "ready":
            raise NotReady(f"the engine is {self.state}")
        if len(self.open) >= self.max_open:
            raise QueueFull(f"the queue is full ({self.max_open} requests)", retry_after_s=1.5)
        self.requests.append(request)
        return FakeSource(self, request)

    async def stats(self) -> EngineStats:
        if self.state != "ready":
            raise NotReady(f"the engine is {self.state}")
        drafts = self.report.stats if self.report else None
        num_open = len(self.open)
        return EngineStats(num_running=num_open, num_blocks=100, num_blocks_used=num_open, speculation=drafts)

    async def speculation(self) -> SpeculationReport | None:
        if self.state != "ready":
            raise NotReady(f"the engine is {self.state}")
        return self.report

    async def stop(self, drain_s: float) -> None:
        self.state = "stopped"


class FakeSource:
    def __init__(self, engine: FakeEngine, request: Request) -> None:
        self._engine = engine
        self._request = request
        self._deltas = deltas(engine, request)
        engine.open.add(request.request_id)

    def __aiter__(self) -> AsyncIterator[Delta]:
        return self

    async def __anext__(self) -> Delta:
        try:
            delta = next(self._deltas)
        except StopIteration:
            self._engine.open.discard(self._request.request_id)
            raise StopAsyncIteration from None
        await asyncio.sleep(self._engine.step_s)
        if self._engine.failure is not None:
            raise self._engine.failure
        if self._engine.state != "ready":
            raise EngineDied("the engine process was killed by signal 9")
        return delta

    async def aclose(self) -> None:
        if self._request.request_id in self._engine.open:
            self._engine.open.discard(self._request.request_id)
            self._engine.aborted.append(self._request.request_id)


def deltas(engine: FakeEngine, request: Request) -> Iterator[Delta]:
    """What the engine says, step by step, sample by sample."""
    outputs = [continuation(request, index, engine) for index in range(request.params.n)]
    lengths = [len(output) for output in outputs]
    for step in range(max(lengths)):
        for index, output in enumerate(outputs):
            if step < lengths[index]:
                yield _delta(engine, request, index, step, output)


def continuation(request: Request, index: int, engine: FakeEngine | None = None) -> list[int]:
    """Tokens of sample ``index``: the reply, or hashes of the prefix up to ``max_tokens``."""
    reply = engine.reply if engine else None
    if reply is not None:
        return list(reply.encode())
    output: list[int] = []
    prefix = repr((request.prompt, index)).encode()
    for _ in range(request.params.max_tokens or 16):
        prefix = hashlib.blake2b(prefix, digest_size=16).digest()
        output.append(97 + int.from_bytes(prefix, "big") % 26)
    return output


def _delta(engine: FakeEngine, request: Request, index: int, step: int, output: list[int]) -> Delta:
    token, last = output[step], step == len(output) - 1
    logprobs = ()
    if request.params.logprobs is not None:
        logprobs = (TokenLogprob(token, -0.5, tuple((97 + i, -1.0 - i) for i in range(request.params.logprobs))),)
    prompt_logprobs: tuple[TokenLogprob | None, ...] = ()
    if request.params.prompt_logprobs is not None and (index, step) == (0, 0):
        prompt_logprobs = (None, *(TokenLogprob(t, -2.0, ((t, -2.0),)) for t in request.prompt[1:]))
    length = request.params.max_tokens == len(output) and engine.reply is None
    fields: dict[str, Any] = {"finish_reason": ("length" if length else "stop") if last else None}
    fields |= engine.last_delta if last else {}
    decoder_holds = token >= 0x80 and not last and output[step + 1] & 0xC0 == 0x80
    text = "" if decoder_holds else _character(output, step)
    return Delta(
        request_id=request.request_id, index=index, text=text, token_ids=(token,), logprobs=logprobs,
        prompt_logprobs=prompt_logprobs, num_cached_tokens=16 * (len(request.prompt) // 16), **fields,
    )  # fmt: skip


def _character(output: list[int], end: int) -> str:
    start = end
    while start > 0 and output[start] & 0xC0 == 0x80:
        start -= 1
    return bytes(output[start : end + 1]).decode("utf-8", "replace")


@dataclass
class Running:
    """A server on a free port of this machine, in a thread."""

    url: str
    engine: FakeEngine
    service: Service
    server: HttpServer
    port: int
    client: httpx2.Client
    headers: dict[str, str] = field(default_factory=dict)

    def post(self, path: str, body: Any, *, headers: Mapping[str, str] | None = None) -> httpx2.Response:
        return self.client.post(path, content=_json(body), headers={**_JSON, **self.headers, **(headers or {})})

    def stream(self, path: str, body: Any) -> contextlib.AbstractContextManager[httpx2.Response]:
        return self.client.stream("POST", path, content=_json(body), headers={**_JSON, **self.headers})

    def get(self, path: str, *, headers: Mapping[str, str] | None = None) -> httpx2.Response:
        return self.client.get(path, headers={**self.headers, **(headers or {})})


_JSON = {"content-type": "application/json"}


def _json(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def make_service(engine: FakeEngine, limits: Limits | None = None, **options: Any) -> Service:
    return Service(
        engine=engine, codec=ByteCodec(), template=LineTemplate(), defaults=GenerationDefaults(),
        limits=limits or Limits(), metrics=Metrics(NAME), model_name=NAME, **options,
    )  # fmt: skip


@contextlib.contextmanager
def serving(options: ServeOptions, parts: Sequence[Part]) -> Iterator[tuple[HttpServer, httpx2.Client, int]]:
    """A server on a free port, a client of it and the port."""
    sock = listen(options.host, 0)
    server = HttpServer(options, parts)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([sock])))
    thread.start()
    while not server.started:  # until then connections are refused
        assert thread.is_alive()
        time.sleep(0.001)
    try:
        with httpx2.Client(base_url=base_url(sock), timeout=20.0) as client:
            yield server, client, sock.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        for part in parts:
            part.close()
        assert not thread.is_alive()


@contextlib.contextmanager
def running(engine: FakeEngine | None = None, **options: Any) -> Iterator[Running]:
    """Serves ``engine`` until the block ends."""
    serve_options = ServeOptions(port=0, **options)
    engine = engine or FakeEngine()
    service = make_service(engine, serve_options.limits, metrics_compat=serve_options.metrics_compat)
    with serving(serve_options, [LanguagePart(service)]) as (server, client, port):
        yield Running(str(client.base_url), engine, service, server, port, client)

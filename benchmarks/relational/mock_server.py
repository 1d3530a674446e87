"""A server with the OpenAI chat API over the mock model, on a free loopback port, that can be told to misbehave.

In a thread of its own (``with MockServer() as server``), or as a process: ``python -m benchmarks.relational.mock_server``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import random
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from benchmarks.relational.mock_model import Device, Job, TimeModel, answer, block_hashes, tokenize

MODEL = "mock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Shares of requests that go wrong, and how."""

    busy: float = 0.0  # refused with 429 and Retry-After; nothing is computed
    reset: float = 0.0  # computed and paid for, then the connection is reset
    hang: float = 0.0  # taken, never answered
    retry_after_s: float = 0.02
    seed: int = 0


@dataclass(slots=True)
class Counts:
    """What the server has seen and done."""

    requests: int = 0
    paid: int = 0  # computed, whether or not the answer arrived
    busy: int = 0
    resets: int = 0
    hangs: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    device_s: float = 0.0  # virtual seconds in which the device computed
    most_at_once: int = 0


Respond = Callable[[dict[str, Any]], tuple[int, Any] | None]


class MockServer:
    """Starts on entering. ``kill`` ends it as a crash would; ``start`` then brings it back, with an empty cache.

    ``speed`` is how many virtual seconds pass in a real one; 0: the device takes no time. ``respond`` may answer a
    request instead of the model: a status and a JSON value, or bytes.
    """

    def __init__(
        self,
        *,
        faults: Faults | None = None,
        times: TimeModel | None = None,
        cache_tokens: int = 200_000,
        max_model_len: int = 1 << 20,
        api_key: str | None = None,
        speed: float = 0.0,
        respond: Respond | None = None,
        port: int = 0,
    ) -> None:
        self.counts = Counts()
        self._faults = faults or Faults()
        self._random = random.Random(self._faults.seed)
        self._times = times or TimeModel()
        self._cache_tokens = cache_tokens
        self._max_model_len = max_model_len
        self._api_key = api_key
        self._speed = speed
        self._respond = respond
        self.port = port
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Listens, on the same port as before if there was one."""
        assert self._thread is None, "it runs already"
        sock = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        self.port = sock.getsockname()[1]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(sock)), name="mock-server")
        ready = threading.Event()
        self._ready = ready
        self._thread.start()
        ready.wait()

    def kill(self) -> None:
        """Drops every connection at once. Can be called twice."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
            self._thread = None

    # ── the loop ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _serve(self, sock: socket.socket) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._work = asyncio.Event()
        self._device = Device(self._times, self._cache_tokens)
        self._pending: dict[Job, asyncio.Future[None]] = {}
        self._writers: set[asyncio.StreamWriter] = set()
        server = await asyncio.start_server(self._connected, sock=sock)
        device = asyncio.create_task(self._run_device())
        self._ready.set()
        await self._stop.wait()
        server.close()
        device.cancel()
        for writer in self._writers:
            writer.transport.abort()

    async def _run_device(self) -> None:
        while True:
            await self._work.wait()
            ended, seconds = self._device.step()
            self.counts.device_s += seconds
            await asyncio.sleep(seconds / self._speed if self._speed else 0)
            for job in ended:
                self._pending.pop(job).set_result(None)
            if self._device.idle:
                self._work.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while (request := await _read(reader)) is not None:
                if not await self._exchange(*request, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client's affair; the loop ends with the server
        finally:
            self._writers.discard(writer)
            writer.transport.abort() if self._stop.is_set() else writer.close()

    async def _exchange(
        self,
        path: str,
        headers: dict[str, str],
        body: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Answers one request; False if the connection is of no use any more."""
        if path == "/stats":
            return await _write(writer, 200, dataclasses.asdict(self.counts))
        if path != "/v1/chat/completions":
            return await _write(writer, 404, _error(f"no such path: {path}"))
        if self._api_key is not None and headers.get("authorization") != f"Bearer {self._api_key}":
            return await _write(writer, 401, _error(f"wrong key {headers.get('authorization')}", "invalid_api_key"))
        self.counts.requests += 1
        asked = json.loads(body)
        draw, faults = self._random.random(), self._faults
        if draw < faults.busy:
            self.counts.busy += 1
            return await _write(writer, 429, _error("too many requests"), {"retry-after": f"{faults.retry_after_s:g}"})
        if draw < faults.busy + faults.hang:
            self.counts.hangs += 1
            await reader.read()  # until the client gives up
            return False
        status, answer = (self._respond and self._respond(asked)) or await self._complete(asked)
        if draw < faults.busy + faults.hang + faults.reset:
            self.counts.resets += 1
            writer.transport.abort()
            return False
        return await _write(writer, status, answer)

    async def _complete(self, asked: dict[str, Any]) -> tuple[int, Any]:
        if asked["model"] != MODEL:
            return 404, _error(f"the model {asked['model']!r} does not exist", "model_not_found")
        texts = {message["role"]: message["content"] for message in asked["messages"]}
        system, user = texts.get("system", ""), texts["user"]
        prompt = tokenize(f"system {system}\n" if system else "") + tokenize(f"user {user}\nassistant")
        if len(prompt) > self._max_model_len:
            message = f"the maximum context length is {self._max_model_len} tokens, got {len(prompt)}"
            return 400, _error(message, "context_length_exceeded")
        text = answer(system, user, *_constraint(asked))
        num_output = min(asked.get("max_tokens") or asked.get("max_completion_tokens") or 16, len(tokenize(text)))
        job = Job(block_hashes(prompt), len(prompt), num_output)
        await self._compute(job)
        return 200, _completion(text, job)

    async def _compute(self, job: Job) -> None:
        self._pending[job] = self._loop.create_future()
        self._device.submit(job)
        self._work.set()
        self.counts.most_at_once = max(self.counts.most_at_once, len(self._pending))
        await self._pending[job]
        self.counts.paid += 1
        self.counts.prompt_tokens += job.num_prompt
        self.counts.cached_tokens += job.num_cached
        self.counts.output_tokens += job.num_output


def _constraint(asked: dict[str, Any]) -> tuple[list[str], Any]:
    """Choices and schema, in vLLM's words or in OpenAI's."""
    constraint = asked.get("structured_outputs") or {}
    schema = constraint.get("json") or asked.get("response_format", {}).get("json_schema", {}).get("schema")
    return constraint.get("choice", []), schema


def _completion(text: str, job: Job) -> dict[str, Any]:
    usage = {
        "prompt_tokens": job.num_prompt,
        "completion_tokens": job.num_output,
        "total_tokens": job.num_prompt + job.num_output,
        "prompt_tokens_details": {"cached_tokens": job.num_cached},
    }
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "mock", "object": "chat.completion", "model": MODEL, "choices": [choice], "usage": usage}


def _error(message: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


async def _read(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes] | None:
    """Path, headers and body of the next request; None at the end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return first.split(" ")[1], headers, body


async def _write(writer: asyncio.StreamWriter, status: int, value: Any, headers: dict[str, str] | None = None) -> bool:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    lines = [f"HTTP/1.1 {status} Mock", "content-type: application/json", f"content-length: {len(body)}"]
    lines += [f"{name}: {text}" for name, text in (headers or {}).items()]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--speed", type=float, default=0.0, help="virtual seconds in a real one; 0: no time passes")
    parser.add_argument("--cache-tokens", type=int, default=200_000)
    options = parser.parse_args()
    server = MockServer(port=options.port, speed=options.speed, cache_tokens=options.cache_tokens)
    with contextlib.suppress(KeyboardInterrupt), server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()

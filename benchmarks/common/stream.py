"""A streaming client for completions on a bare socket: nothing between the bytes and the stamps.

The load generator shares its cores with the server it measures, so the client does the least
that still checks what it was sent: status, events, usage.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self


@dataclass(slots=True)
class Answer:
    """One response; times are ``time.perf_counter`` seconds."""

    sent_s: float
    status: int = 0
    stamps_s: list[float] = field(default_factory=list)  # arrival of every event that carries text
    text: str = ""
    num_tokens: int = 0  # the server's usage, or the number of events with text where it sends none
    error: str | None = None

    @property
    def complete(self) -> bool:
        """The stream ended as the protocol says, without an error."""
        return self.status == 200 and self.error is None


class Connection:
    """One keep-alive HTTP/1.1 connection; use as an asynchronous context manager."""

    def __init__(self, host: str, port: int, *, api_key: str | None = None) -> None:
        self._host, self._port = host, port
        self._authorization = f"Authorization: Bearer {api_key}\r\n" if api_key else ""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: dict[str, Any]) -> Answer:
        """Sends one request and reads its stream to the end; failures are in the answer, not raised."""
        answer = Answer(sent_s=time.perf_counter())
        try:
            await self._exchange(path, json.dumps(body).encode(), answer)
        except (OSError, EOFError, ValueError) as error:
            answer.error = f"{type(error).__name__}: {error}"
            await self.close()
        return answer

    async def _exchange(self, path: str, payload: bytes, answer: Answer) -> None:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nContent-Type: application/json\r\n"
            f"{self._authorization}Content-Length: {len(payload)}\r\n\r\n"
        )
        writer.write(head.encode() + payload)
        await writer.drain()
        answer.status, headers = await _read_head(reader)
        if headers.get("transfer-encoding") == "chunked":
            await _read_events(reader, answer)
        else:
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            answer.text = body.decode()
        if answer.status != 200:
            answer.error = answer.error or f"status {answer.status}: {answer.text[:200]}"
        if headers.get("connection") == "close":
            await self.close()

    async def close(self) -> None:
        if self._streams is not None:
            writer, self._streams = self._streams[1], None
            writer.close()
            with contextlib.suppress(OSError):  # the other side may have gone first
                await writer.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:] if line)
    return int(lines[0].split()[1]), {name.lower(): value.strip().lower() for name, _, value in pairs}


async def _read_events(reader: asyncio.StreamReader, answer: Answer) -> None:
    pending = b""
    done = False
    num_tokens = None
    while size := int((await reader.readline()).partition(b";")[0], 16):
        pending += (await reader.readexactly(size + 2))[:-2]
        now_s = time.perf_counter()
        *events, pending = pending.split(b"\n\n")
        for event in events:
            data = event.rpartition(b"data: ")[2]
            if data == b"[DONE]":
                done = True
            elif data.startswith(b"{"):
                num_tokens = _take(json.loads(data), now_s, answer) or num_tokens
    await reader.readline()  # the empty trailer
    answer.num_tokens = len(answer.stamps_s) if num_tokens is None else num_tokens
    if not done and answer.error is None:
        answer.error = "the stream ended without [DONE]"


def _take(event: dict[str, Any], now_s: float, answer: Answer) -> int | None:
    """Adds one event to the answer; the number of tokens when the event tells it."""
    if "error" in event:
        answer.error = str(event["error"])[:200]
    for choice in event.get("choices", ()):
        text = choice.get("text") or choice.get("delta", {}).get("content")
        if text:
            answer.stamps_s.append(now_s)
            answer.text += text
    usage = event.get("usage")
    return usage["completion_tokens"] if usage else None

"""One HTTP request and its answer, on plain ASGI: bounded reading, counted writing, noticing who has left."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TypeVar, final

import msgspec
from starlette.types import Receive, Scope, Send

from paceline.server.faults import ClientGone, Fault, bad_request
from paceline.server.limits import Limits

T = TypeVar("T")
Headers = tuple[tuple[bytes, bytes], ...]
Data = bytes | bytearray | memoryview
_JSON = b"application/json"
_EVENTS = b"text/event-stream; charset=utf-8"
_DRAINED = 4  # times the allowed size
_PART_BYTES = 256 * 1024  # sent at once
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@final
class Exchange:
    """A request on its way. ``status`` is 0 until the answer has begun."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: Limits) -> None:
        self.scope = scope
        self.limits = limits
        self.status = 0
        self.began = time.monotonic()
        self.extra_headers: list[tuple[bytes, bytes]] = []
        self.notes: dict[str, int] = {}  # for the log
        self.request_id = self._request_id()
        self._receive = receive
        self._send = send
        self._streams = False
        self._body_is_read = not (self.header(b"content-length").strip("0") or self.header(b"transfer-encoding"))

    @property
    def path(self) -> str:
        return str(self.scope["path"])

    @property
    def method(self) -> str:
        return str(self.scope["method"])

    def header(self, name: bytes) -> str:
        """The first value of a header, "" if it is not there."""
        return next((value.decode("latin-1") for key, value in self.scope["headers"] if key == name), "")

    def _request_id(self) -> str:
        given = self.header(b"x-request-id")
        return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(12)

    async def read_json(self) -> bytes:
        """The whole body, which must say that it is JSON. Raises Refused: 408, 413, 415."""
        kind, _, parameters = self.header(b"content-type").partition(";")
        charset = parameters.strip().lower()
        if kind.strip().lower() != "application/json" or charset not in ("", "charset=utf-8", 'charset="utf-8"'):
            raise bad_request("send Content-Type: application/json", status=415, code="unsupported_media_type")
        return bytes(await self.read(self.limits.body_bytes))

    async def read(self, limit: int, take: Callable[[int], None] = lambda num_bytes: None) -> bytearray:
        """The whole body of at most ``limit`` bytes, in any form that is not compressed. Raises Refused: 408, 413, 415.

        ``take`` is told of bytes before they are kept and may refuse them.
        """
        encoding = self.header(b"content-encoding").strip().lower()
        if encoding not in ("", "identity"):
            raise bad_request("send the body without Content-Encoding", status=415, code="unsupported_encoding")
        try:
            async with asyncio.timeout(self.limits.body_timeout_s):
                return await self._read_all(limit, take)
        except TimeoutError:
            raise bad_request("the body came too slowly", status=408, code="body_timeout") from None

    async def _read_all(self, limit: int, take: Callable[[int], None]) -> bytearray:
        """Reads somewhat more than is allowed, so that a client still hears why it is refused."""
        too_large = bad_request(f"the body may hold {limit} bytes", status=413, code="body_too_large")
        length = self.header(b"content-length")
        if length.isdecimal() and int(length[:20]) > _DRAINED * limit:
            raise too_large
        body, num_read = bytearray(), 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece = message.get("body", b"")
            num_read += len(piece)
            if num_read <= limit:
                take(len(piece))
                body += piece
            elif num_read > _DRAINED * limit:
                raise too_large
            if not message.get("more_body", False):
                break
        self._body_is_read = True
        if num_read > limit:
            raise too_large
        return body

    async def gone(self) -> None:
        """Returns when the client has closed its connection; call it after the body is read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def unless_gone(self, work: Coroutine[None, None, T]) -> T:
        """What ``work`` returns; it is cancelled, and ClientGone raised, when the client leaves before its end."""
        # uvicorn does not cancel a handler whose client has left: somebody must listen for it.
        task = asyncio.create_task(work)
        gone = asyncio.create_task(self.gone())
        try:
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientGone
            return await task
        finally:
            task.cancel()
            gone.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)

    async def send_json(self, value: object, *, status: int = 200, headers: Headers = ()) -> None:
        await self.send(msgspec.json.encode(value), status=status, headers=headers)

    async def send(self, body: bytes, *, status: int = 200, content_type: bytes = _JSON, headers: Headers = ()) -> None:
        """A whole answer at once."""
        length = (b"content-length", str(len(body)).encode())
        await self._start(status, content_type, (length, *headers))
        await self._write(body, more=False)

    async def send_parts(self, parts: Sequence[Data], content_type: bytes, headers: Headers) -> None:
        """A whole answer whose body lies in several places."""
        length = (b"content-length", str(sum(map(len, parts))).encode())
        await self._start(200, content_type, (length, *headers))
        for part in parts:
            view = memoryview(part)
            for start in range(0, len(view), _PART_BYTES):
                await self._write(bytes(view[start : start + _PART_BYTES]), more=True)
        await self._write(b"", more=False)

    async def start_events(self) -> None:
        """Begins a stream of server-sent events."""
        self._streams = True
        await self._start(200, _EVENTS, ())

    async def send_event(self, data: bytes) -> None:
        """Sends ready-made events. Waits while the client does not read; cuts it off after ``write_stall_s``."""
        await self._write(data, more=True)

    async def end_events(self) -> None:
        await self._write(b"", more=False)

    async def fail(self, fault: Fault, body: bytes) -> None:
        """Answers with ``fault``, spelled as ``body``; in a stream that has begun, as its last event."""
        if self.status == 0:
            await self.send(body, status=fault.status, headers=fault.all_headers())
        elif self._streams:
            await self._write(b"event: error\ndata: " + body + b"\n\n", more=False)

    async def _start(self, status: int, content_type: bytes, headers: Headers) -> None:
        self.status = status
        common = [
            (b"content-type", content_type),
            (b"x-request-id", self.request_id.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"cache-control", b"no-store"),
        ]
        all_headers = [*common, *headers, *self.extra_headers]
        if not self._body_is_read:
            all_headers.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": status, "headers": all_headers})

    async def _write(self, body: bytes, *, more: bool) -> None:
        try:
            async with asyncio.timeout(self.limits.write_stall_s):
                await self._send({"type": "http.response.body", "body": body, "more_body": more})
        except TimeoutError:
            self._cut()
            raise ClientGone from None

    def _cut(self) -> None:
        # Closing would wait for ever for the client to take what lies in the buffer.
        abort = self.scope.get("state", {}).get("abort_connection")
        if abort is not None:
            abort()

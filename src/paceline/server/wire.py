"""The HTTP/1.1 protocol with bounds in time: slow headers end, hostile framing cannot hold the event loop."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from paceline.server.limits import Limits

_PIECE_BYTES = 4096  # parsed at once: about 400 of the smallest chunks, a few milliseconds
_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux


@final
class BoundedProtocol(H11Protocol):
    """uvicorn makes one of every connection. Parses in pieces, one per turn of the event loop, so that other connections get theirs."""

    def __init__(self, limits: Limits, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._pending = bytearray()
        self._feeding = False  # the rest of what was read waits for the next turn
        self._num_lines = 0
        self._header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "abort_connection": transport.abort}
        self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._pending.clear()
        self._stop_header_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._pending += data
        if not self._feeding:
            self._feed()

    def _feed(self) -> None:
        if self._feeding:
            self._feeding = False
            self.flow.resume_reading()
        if self.transport.is_closing():
            return
        piece = bytes(self._pending[:_PIECE_BYTES])
        del self._pending[:_PIECE_BYTES]
        if self._too_many_chunks(piece):
            self._refuse(413, "too many chunks")
            return
        super().data_received(piece)
        self._watch_headers()
        if not self._pending:
            self._acknowledge()
        else:
            self._feeding = True
            self.flow.pause_reading()
            self.loop.call_soon(self._feed)

    def _acknowledge(self) -> None:
        """Tells the client at once that its headers are here.

        Many clients, tritonclient among them, write headers and body separately and without TCP_NODELAY: their kernel
        holds the body back until the headers are acknowledged, which ours would do 40 ms later.
        """
        if self.conn.their_state is h11.SEND_BODY and _QUICK_ACK is not None:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)

    def _too_many_chunks(self, piece: bytes) -> bool:
        """Counts line ends, two a chunk: h11 spends the same time on a chunk of any size."""
        if self.conn.their_state is not h11.SEND_BODY:
            self._num_lines = 0
            return False
        if not any(name == b"transfer-encoding" for name, _ in self.headers):
            return False
        self._num_lines += piece.count(b"\r\n")
        return self._num_lines > 2 * self._limits.max_chunks

    def _watch_headers(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_header_timer()
        elif self._header_timer is None and self.timeout_keep_alive_task is None:
            self._header_timer = self.loop.call_later(self._limits.header_timeout_s, self._headers_late)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _headers_late(self) -> None:
        self._header_timer = None
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            return
        if self.conn.trailing_data[0]:
            self._refuse(408, "the request's headers came too slowly")
        else:
            self.transport.close()

    def _refuse(self, status: int, message: str) -> None:
        """Answers below the application and closes. Nothing more can be parsed."""
        self._pending.clear()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = message.encode()
            headers = [
                ("content-type", "text/plain"), ("content-length", str(len(body))), ("connection", "close"),
            ]  # fmt: skip
            for event in (h11.Response(status_code=status, headers=headers), h11.Data(body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

"""Typed messages over a byte stream: 4 bytes of length, 1 byte of kind, MessagePack.

Both ends name the types they accept (``msgspec`` structs, several as a tagged union); whatever
does not decode to one of them is an ExecutionError, never an object of another type. Nothing
that is executed travels: no pickle.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Iterator
from types import UnionType
from typing import Generic, TypeVar, final

import msgspec

from paceline.errors import ExecutionError

MAX_FRAME_BYTES = 16 * 1024 * 1024
MESSAGE, CONTROL = 0, 1  # kinds: the part's own messages, and those of the supervisor

_HEADER = struct.Struct("!IB")
_READ_BYTES = 256 * 1024

In = TypeVar("In")
Out = TypeVar("Out")
M = TypeVar("M")


class ChannelClosed(EOFError):
    """The other side has closed the channel or is gone."""


def pack(kind: int, body: bytes) -> bytes:
    """One frame; ExecutionError if ``body`` is over the limit.

    >>> pack(MESSAGE, b"ab")
    b'\\x00\\x00\\x00\\x02\\x00ab'
    """
    if len(body) > MAX_FRAME_BYTES:
        raise ExecutionError(f"a message of {len(body)} bytes is over the limit of {MAX_FRAME_BYTES} bytes per frame")
    return _HEADER.pack(len(body), kind) + body


@final
class Splitter:
    """Cuts a byte stream back into frames, however the bytes were chopped.

    >>> splitter = Splitter()
    >>> list(splitter.feed(b"\\x00\\x00\\x00\\x02"))
    []
    >>> list(splitter.feed(b"\\x00ab"))
    [(0, b'ab')]
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Every frame complete by now, as (kind, body); ExecutionError if this is no frame."""
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= _HEADER.size:
                length, kind = _HEADER.unpack_from(buffer, start)
                if length > MAX_FRAME_BYTES or kind not in (MESSAGE, CONTROL):
                    raise ExecutionError(f"garbage on the channel: a frame of kind {kind} with {length} bytes")
                end = start + _HEADER.size + length
                if len(buffer) < end:
                    return
                body = bytes(memoryview(buffer)[start + _HEADER.size : end])
                start = end
                yield kind, body
        finally:
            del buffer[:start]


@final
class Codec(Generic[M]):
    """Bytes of one type of message: ``Codec[Ask | Stop](Ask | Stop)``."""

    def __init__(self, message_type: type[M] | UnionType) -> None:
        self._decoder: msgspec.msgpack.Decoder[M] = msgspec.msgpack.Decoder(message_type)

    def decode(self, body: bytes) -> M:
        """The message in ``body``; ExecutionError if it is none of the accepted types."""
        try:
            return self._decoder.decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ExecutionError(f"garbage on the channel: {error}") from error


def encode(message: object) -> bytes:
    """MessagePack of a message; ExecutionError if it holds what cannot be sent."""
    try:
        return _ENCODER.encode(message)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise ExecutionError(f"cannot send a {type(message).__name__}: {error}") from error


_ENCODER = msgspec.msgpack.Encoder()


@final
class Channel:
    """Blocking end of a stream socket. Sending is safe from several threads, receiving from one."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self._socket = sock
        self._splitter = Splitter()
        self._send_lock = threading.Lock()
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def send(self, kind: int, message: object) -> None:
        """Sends one message, waiting while the peer's buffer is full; ChannelClosed if it is gone."""
        frame = pack(kind, encode(message))
        try:
            with self._send_lock:
                self._socket.sendall(frame)
        except OSError as error:
            raise ChannelClosed("the other side has closed the channel") from error

    def receive(self, timeout_s: float | None) -> list[tuple[int, bytes]]:
        """Frames that are here, waiting up to ``timeout_s`` (None: for ever) for the first bytes.

        An empty list after a timeout or part of a frame. ChannelClosed once the other side is gone.
        """
        if not self._poll.poll(None if timeout_s is None else timeout_s * 1000):
            return []
        try:
            data = self._socket.recv(_READ_BYTES)
        except OSError as error:
            raise ChannelClosed("the channel is broken") from error
        if not data:
            raise ChannelClosed("the other side has closed the channel")
        return list(self._splitter.feed(data))

    def close(self) -> None:
        self._socket.close()

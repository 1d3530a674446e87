"""One child process from its start to its end, seen from the parent's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from types import UnionType
from typing import Generic, TypeVar, cast, final

from paceline import errors
from paceline.errors import ExecutionError, PacelineError, ResourceError
from paceline.process.control import CHANNEL_VARIABLE, Beat, Drain, Failed, FromChild, Ready
from paceline.process.frames import CONTROL, MESSAGE, Codec, Splitter, encode, pack

In = TypeVar("In")

_TAIL_LINES = 20
_MAX_LINE_BYTES = 8192
_EXIT_GRACE_S = 0.5  # between the end of the channel and the end of the process
_POLL_S = 0.01

_ERRORS: dict[str, type[PacelineError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, PacelineError)
}


@final
class Output(asyncio.Protocol):
    """Lines that a child prints: passed on, the last ones kept."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._on_line = on_line
        self._partial = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > _MAX_LINE_BYTES:
            lines, self._partial = [*lines, self._partial], b""
        for line in lines:
            self._emit(line)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._partial:
            self._emit(self._partial)
            self._partial = b""

    def _emit(self, line: bytes) -> None:
        text = line.decode(errors="replace")
        self.tail.append(text)
        self._on_line(text)


@final
class ChildProcess(asyncio.Protocol, Generic[In]):
    """A running child: its messages, its signs of life, its end.

    Made by ``spawn``. ``down`` is set, with the reason or an empty text, as soon as the child
    must be given up; ``end`` then makes sure that it and its own children are gone.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        codec: Codec[In],
        on_message: Callable[[In], None],
        output: Output,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._codec = codec
        self._control: Codec[FromChild] = Codec(FromChild)
        self._on_message = on_message
        self._splitter = Splitter()
        self._link: asyncio.Transport | None = None
        self._pipe: asyncio.BaseTransport | None = None
        self._last_sign = self._loop.time()
        self._end: str | None = None  # how it ended, once it has
        self.output = output
        self.stalled_s = 0.0  # how long its loop has been inside one step, as it last said
        self.failure: PacelineError | None = None  # what it said it ends of
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.down: asyncio.Future[str] = self._loop.create_future()
        self._writable = asyncio.Event()
        self._writable.set()

    @classmethod
    async def spawn(
        cls,
        command: Sequence[str],
        receives: type[In] | UnionType,
        on_message: Callable[[In], None],
        on_line: Callable[[str], None],
    ) -> ChildProcess[In]:
        """Starts ``command`` with one end of a socket pair; ResourceError if it cannot be started.

        The child leads a session of its own: the terminal's Ctrl-C does not reach it, and it is
        killed together with what it started.
        """
        ours, theirs = socket.socketpair()
        output = Output(on_line)
        try:
            with theirs:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                    env={**os.environ, CHANNEL_VARIABLE: f"{theirs.fileno()}:{os.getpid()}"},
                )
        except OSError as error:
            ours.close()
            raise ResourceError(f"cannot start {command[0]}: {error.strerror or error}") from error
        child = cls(process, Codec(receives), on_message, output)
        try:
            await child._connect(ours)
        except BaseException:
            child._signal(signal.SIGKILL)
            process.wait()
            raise
        return child

    async def _connect(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        await self._loop.create_unix_connection(lambda: self, sock=sock)
        assert self._process.stdout is not None
        self._pipe, _ = await self._loop.connect_read_pipe(lambda: self.output, self._process.stdout)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def silent_s(self) -> float:
        """Seconds since anything came from the child."""
        return self._loop.time() - self._last_sign

    @property
    def exited(self) -> bool:
        return self._process.poll() is not None

    def excuse(self) -> None:
        """Starts the count of silence anew: it was this process that slept."""
        self._last_sign = self._loop.time()
        self.stalled_s = 0.0

    def send(self, message: object) -> None:
        """Queues a message of the part; ExecutionError if it cannot be encoded or is too big."""
        self._write(pack(MESSAGE, encode(message)))

    async def writable(self) -> None:
        """Returns when what was sent has mostly left this process, or never will."""
        await self._writable.wait()

    def ask_to_drain(self) -> None:
        self._write(pack(CONTROL, encode(Drain())))

    def _write(self, frame: bytes) -> None:
        if self._link is not None and not self._link.is_closing():
            self._link.write(frame)

    def give_up(self, reason: str) -> None:
        """The child is lost, for ``reason``; the first reason counts."""
        if not self.down.done():
            self.down.set_result(reason)

    # -- what the event loop calls -----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._link = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._last_sign = self._loop.time()
        try:
            for kind, body in self._splitter.feed(data):
                if kind == MESSAGE:
                    self._on_message(self._codec.decode(body))
                else:
                    self._obey(self._control.decode(body))
        except ExecutionError as error:
            self.give_up(f"sent {error}")

    def _obey(self, message: FromChild) -> None:
        match message:
            case Ready():
                if not self.ready.done():
                    self.ready.set_result(None)
            case Beat(stalled_s=stalled_s):
                self.stalled_s = stalled_s
            case Failed(error=name, message=text):
                kind = _ERRORS.get(name, ExecutionError)
                self.failure = kind(text)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._writable.set()
        self.give_up("")

    # -- the end -----------------------------------------------------------------------------

    async def end(self, term_grace_s: float = 0.0) -> str:
        """Brings the child and its whole session to an end and says how it went.

        With ``term_grace_s`` it is asked by SIGTERM first.
        """
        if self._end is not None:
            return self._end
        if term_grace_s > 0.0:
            self._signal(signal.SIGTERM)
        elif self.down.done() and not self.down.result():  # its channel ended: it is probably ending itself
            term_grace_s = _EXIT_GRACE_S
        exited_by_itself = await self._exits_within(term_grace_s)
        self._signal(signal.SIGKILL)  # also what it has started and left behind
        await self._exits_within(60.0)
        if self._link is not None:
            self._link.abort()
        await asyncio.sleep(_POLL_S)  # the last lines of its output
        if self._pipe is not None:
            self._pipe.close()
            await asyncio.sleep(0)
        self._end = _how(self._process.returncode) if exited_by_itself else "was killed"
        return self._end

    async def _exits_within(self, seconds: float) -> bool:
        last = self._loop.time() + seconds
        while not self.exited:
            if self._loop.time() >= last:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _how(returncode: int) -> str:
    """How a process ended, in words.

    >>> _how(-9), _how(3)
    ('was killed by SIGKILL', 'exited with code 3')
    """
    if returncode >= 0:
        return f"exited with code {returncode}"
    return f"was killed by {signal.Signals(-returncode).name}"

"""The child's side of a supervised process: connect, load, say ready, serve, leave.

::

    with Child.connect(Ask | Cancel) as child:         # PacelineError inside: told to the parent
        engine = load()
        child.send(ModelInfo(...))
        child.ready()
        while not (child.draining and engine.idle):
            for message in child.receive(timeout_s=None if engine.idle else 0.0):
                ...
"""

from __future__ import annotations

import os
import socket
from types import TracebackType, UnionType
from typing import Generic, TypeVar, final

from paceline.errors import ConfigError, PacelineError
from paceline.process.control import CHANNEL_VARIABLE, Failed, FromParent, Ready
from paceline.process.frames import CONTROL, MESSAGE, Channel, ChannelClosed, Codec
from paceline.process.heartbeat import Heartbeat, die_with_parent

In = TypeVar("In")


@final
class Child(Generic[In]):
    """This process as its supervisor's child. One thread calls ``receive``; any may ``send``."""

    def __init__(self, channel: Channel, receives: type[In] | UnionType, heartbeat: Heartbeat) -> None:
        self.draining = False  # the parent wants this process to finish its work and exit
        self._channel = channel
        self._codec: Codec[In] = Codec(receives)
        self._control: Codec[FromParent] = Codec(FromParent)
        self._heartbeat = heartbeat

    @classmethod
    def connect(cls, receives: type[In] | UnionType) -> Child[In]:
        """Takes the channel that the supervisor left in the environment; ConfigError without one.

        Call it first, before slow imports: from here on this process dies with its parent.
        """
        value = os.environ.pop(CHANNEL_VARIABLE, "")
        descriptor, _, parent_pid = value.partition(":")
        if not (descriptor.isdigit() and parent_pid.isdigit()):
            raise ConfigError(f"this program is started by its supervisor: {CHANNEL_VARIABLE} is not set")
        die_with_parent(int(parent_pid))
        sock = socket.socket(fileno=int(descriptor))
        sock.set_inheritable(False)  # a grandchild that held it would hide this process's end
        channel = Channel(sock)
        heartbeat = Heartbeat(channel)
        heartbeat.start()
        return cls(channel, receives, heartbeat)

    def ready(self) -> None:
        """Loaded: the supervisor's ``start`` returns, the watchdog begins to watch."""
        self._heartbeat.touch()
        self._channel.send(CONTROL, Ready())

    def send(self, message: object) -> None:
        """Sends a message of the part; waits while the parent does not read. ChannelClosed if it is gone."""
        self._channel.send(MESSAGE, message)

    def receive(self, timeout_s: float | None, *, stalled: bool = False) -> list[In]:
        """Messages that are here, waiting up to ``timeout_s`` seconds (None: for ever) for one.

        May be empty: look at ``draining`` then. Call it once in every step of the loop, with 0
        when there is work: it is also the sign of progress. A loop whose work is done by another
        thread says ``stalled`` when that has not moved since the last call. ExecutionError on garbage.
        """
        if stalled:
            frames = self._channel.receive(timeout_s)
        elif timeout_s == 0.0:
            self._heartbeat.touch()
            frames = self._channel.receive(0.0)
        else:
            with self._heartbeat.idle():
                frames = self._channel.receive(timeout_s)
        messages = []
        for kind, body in frames:
            if kind == MESSAGE:
                messages.append(self._codec.decode(body))
            else:
                self._control.decode(body)
                self.draining = True
        return messages

    def __enter__(self) -> Child[In]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Closes. A PacelineError is told to the parent and becomes its exit code; a lost parent is a plain end."""
        self._heartbeat.stop()
        if isinstance(error, PacelineError):
            try:
                self._channel.send(CONTROL, Failed(error=type(error).__name__, message=str(error)))
            except ChannelClosed:
                error.add_note("the parent was gone")
            self._channel.close()
            raise SystemExit(error.exit_code) from error
        self._channel.close()
        return isinstance(error, ChannelClosed)

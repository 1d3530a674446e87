"""Signs of life that a child sends, and its promise not to outlive its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import final

from paceline.process.control import Beat
from paceline.process.frames import CONTROL, Channel, ChannelClosed

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent_pid: int) -> None:
    """Asks the kernel to kill this process when its parent ends (Linux; elsewhere EOF does it).

    Exits at once if the parent is already gone. The kernel watches the parent's *thread* that
    started this process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)


def _leave() -> None:
    os._exit(1)


@final
class Heartbeat:
    """Tells every ``interval_s`` how long the loop has been inside one step.

    A thread sends, so a long step is no silence; the loop proves progress by ``touch``, so a
    thread that lives beside a hung loop is no alibi. When the parent is gone, ``on_lost`` runs
    (the process ends).
    """

    def __init__(self, channel: Channel, interval_s: float = 0.5, on_lost: Callable[[], None] = _leave) -> None:
        self._channel = channel
        self._interval_s = interval_s
        self._on_lost = on_lost
        self._touched = time.monotonic()
        self._idle = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No more beats. Does not wait for the thread, which may hang in a send that nobody reads."""
        self._stopping.set()

    def touch(self) -> None:
        """The loop has come round."""
        self._touched = time.monotonic()

    @contextmanager
    def idle(self) -> Iterator[None]:
        """The loop waits for work: that is no stall, however long it takes."""
        self._idle = True
        try:
            yield
        finally:
            self.touch()
            self._idle = False

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_s):
            stalled_s = 0.0 if self._idle else time.monotonic() - self._touched
            try:
                self._channel.send(CONTROL, Beat(stalled_s=stalled_s))
            except ChannelClosed:
                if not self._stopping.is_set():
                    self._on_lost()
                return

"""Sleeping on an event loop to within some microseconds: the loop's own timers are rounded up to milliseconds."""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from types import TracebackType
from typing import Self, final


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _Time), ("value", _Time))


_LIBC = ctypes.CDLL(None, use_errno=True)
_NONBLOCK = os.O_NONBLOCK


@final
class Alarm:
    """A Linux timer that wakes the running loop; use as a context manager, for one sleeper."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer = _LIBC.timerfd_create(time.CLOCK_MONOTONIC, _NONBLOCK)
        if self._timer < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._rings: asyncio.Future[None] | None = None
        self._loop.add_reader(self._timer, self._ring)

    def _ring(self) -> None:
        os.read(self._timer, 8)
        if self._rings is not None and not self._rings.done():
            self._rings.set_result(None)

    async def until(self, at_s: float) -> None:
        """Sleeps to ``at_s`` of ``time.perf_counter``; returns at once if that is over."""
        left_s = at_s - time.perf_counter()
        if left_s <= 0.0:
            return
        self._rings = self._loop.create_future()
        seconds, part = divmod(left_s, 1.0)
        setting = _Setting(_Time(0, 0), _Time(int(seconds), max(1, int(part * 1e9))))
        _LIBC.timerfd_settime(self._timer, 0, ctypes.byref(setting), None)
        await self._rings

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.remove_reader(self._timer)
        os.close(self._timer)

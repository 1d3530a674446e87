"""What everything behind the port shares: open requests, the memory they hold, and threads beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar, final

from paceline.errors import QueueFull
from paceline.server.faults import Refused, unavailable

R = TypeVar("R")
P = ParamSpec("P")


@final
class Traffic:
    """Counts open requests; while draining, lets no new ones in."""

    def __init__(self) -> None:
        self.draining = False
        self._num_open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def num_open(self) -> int:
        return self._num_open

    def enter(self) -> None:
        """Refused (503) while draining."""
        if self.draining:
            raise Refused(unavailable("the server is shutting down", "draining", 5.0))
        self._num_open += 1
        self._idle.clear()

    def leave(self) -> None:
        self._num_open -= 1
        if self._num_open == 0:
            self._idle.set()

    async def idle(self, timeout_s: float) -> bool:
        """Waits until nothing is open; False if that took longer."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True


@final
class Held:
    """Bytes of bodies that open requests hold, bounded: many that are each allowed may still be too much.

    >>> held = Held(10)
    >>> with held.share() as take:
    ...     take(8)
    >>> with held.share() as take:
    ...     take(8)
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """A function that takes so many bytes, or raises QueueFull; given back at the end of the block."""
        taken = 0

        def take(num_bytes: int) -> None:
            nonlocal taken
            if self._num_bytes + num_bytes > self._max_bytes:
                raise QueueFull(f"open requests hold {self._num_bytes:,} bytes, the most is {self._max_bytes:,}")
            taken += num_bytes
            self._num_bytes += num_bytes

        try:
            yield take
        finally:
            self._num_bytes -= taken


@final
class Threads:
    """Runs long work beside the event loop, so that streams keep their pace; short work at once."""

    def __init__(self, num_threads: int, inline_size: int, name: str) -> None:
        self._inline_size = inline_size
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix=name)

    async def run(self, size: int, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """``function(*args)``, which reads about ``size`` characters or bytes."""
        if size <= self._inline_size:
            return function(*args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: function(*args, **kwargs))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

"""Questions to a child whose answers come in the order of the questions."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar, final

T = TypeVar("T")


@final
class Asked(Generic[T]):
    """Who waits for answers of one kind. Belongs to the event loop."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[T]] = deque()

    async def ask(self, send: Callable[[object], None], question: object) -> T:
        """The answer to ``question``. Raises what ``send`` raises, or what ``fail`` was given."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        send(question)
        self._waiting.append(future)
        return await future

    def answer(self, value: T) -> None:
        """Hands ``value`` to whoever asked first, unless nobody waits any more."""
        if self._waiting and not (future := self._waiting.popleft()).done():
            future.set_result(value)

    def fail(self, error: Callable[[], Exception]) -> None:
        """No answer will come: each who waits gets an error of their own."""
        while self._waiting:
            if not (future := self._waiting.popleft()).done():
                future.set_exception(error())

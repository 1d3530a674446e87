"""What a server is made of: parts, each an engine in a process of its own and the routes that ask it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from starlette.routing import BaseRoute

from paceline.errors import NotReady
from paceline.server.exchange import Exchange
from paceline.server.faults import Fault
from paceline.server.port import Supervised

T = TypeVar("T")

_AT_ONCE_S = 1.0  # an engine inside a long step answers after it


class Part(Protocol):
    """One engine behind the port. The part with the longest fitting ``prefix`` answers for a path."""

    @property
    def prefix(self) -> str: ...
    @property
    def engine(self) -> Supervised: ...
    def routes(self) -> Sequence[BaseRoute]: ...
    def about(self) -> Mapping[str, object]:
        """What ``GET /`` says of it."""
        ...

    def spell(self, fault: Fault) -> bytes:
        """The body of an error, in the words of the part's API."""
        ...

    def rejected(self, exchange: Exchange, code: str) -> None:
        """Counts a request that got an error."""
        ...

    async def metrics(self) -> bytes:
        """Text for Prometheus; waits only briefly for an engine that is busy."""
        ...

    def close(self) -> None:
        """Ends what runs beside the event loop. The engine is stopped by whoever started it."""
        ...


@dataclass(frozen=True, slots=True)
class Opening:
    """A part that is yet to come: its engine, which starts at once, and how the rest is made meanwhile."""

    engine: Supervised
    open: Callable[[], Part]  # reads files; called in a thread


async def at_once(answer: Awaitable[T]) -> T | None:
    """What an engine says of itself; None if there is none or it does not answer soon."""
    try:
        async with asyncio.timeout(_AT_ONCE_S):
            return await answer
    except (NotReady, TimeoutError):
        return None

"""The bridge from a Starlette route to a function of an exchange."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import final

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from paceline.server.exchange import Exchange

Handler = Callable[[Exchange], Awaitable[None]]
EXCHANGE = "paceline.exchange"  # the key under which the application leaves it in the scope


@final
class _Endpoint:
    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope[EXCHANGE]
        await self._handler(exchange)


def route(method: str, path: str, handler: Handler) -> Route:
    """A route of one method and path."""
    return Route(path, _Endpoint(handler), methods=[method])

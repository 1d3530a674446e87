"""The ASGI application: one door, one router, one place where errors become answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import final

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Router
from starlette.types import Receive, Scope, Send

from paceline.server.exchange import Exchange
from paceline.server.faults import ClientGone, bad_request, fault_of
from paceline.server.guard import LIVENESS_PATH, METRICS_PATH, Guard
from paceline.server.logs import AccessLog
from paceline.server.routes import chat, completions, models, operations, tokens
from paceline.server.routes.endpoint import EXCHANGE
from paceline.server.service import Service

_ALWAYS_OPEN = frozenset({LIVENESS_PATH, METRICS_PATH, "/ready"})  # answered while draining, and not waited for
_GROUPS = (completions, chat, models, tokens, operations)


def service_routes(service: Service) -> list[BaseRoute]:
    """Every route of the language model's part."""
    return [route for group in _GROUPS for route in group.routes(service)]


@final
class App:
    """Lets a request through the guard, finds its handler, and answers for whatever goes wrong."""

    def __init__(self, service: Service, guard: Guard, routes: Sequence[BaseRoute], log: AccessLog) -> None:
        self.router = Router(routes, redirect_slashes=False)
        self._service = service
        self._guard = guard
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        exchange = Exchange(scope, receive, send, self._service.limits)
        try:
            await self._answer(exchange, scope, receive, send)
        except asyncio.CancelledError:
            raise
        except ClientGone:
            exchange.status = 499
        except Exception as error:
            await self._fail(exchange, error)
        self._log.write(exchange)

    async def _answer(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        self._guard.check(scope)
        exchange.extra_headers = self._guard.cors_headers(scope)
        if self._guard.is_preflight(scope):
            await exchange.send(b"", status=204)
            return
        scope["app"] = self  # makes the router raise instead of answering 404 and 405 itself
        scope[EXCHANGE] = exchange
        if scope["path"] in _ALWAYS_OPEN:
            await self.router(scope, receive, send)
            return
        self._service.traffic.enter()
        try:
            await self.router(scope, receive, send)
        finally:
            self._service.traffic.leave()

    async def _fail(self, exchange: Exchange, error: Exception) -> None:
        refused = _http_error(error) if isinstance(error, HTTPException) else error
        fault = fault_of(refused, exchange.request_id)
        if fault.code == "internal_error":
            self._log.error(exchange, error)
        self._service.metrics.rejected(fault.code)
        try:
            await exchange.fail(fault)
        except ClientGone:
            exchange.status = 499


def _http_error(error: HTTPException) -> Exception:
    """What the router finds wrong, in our words."""
    if error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "")
        headers = ((b"allow", allow.encode()),)
        return bad_request(f"use {allow}", status=405, code="method_not_allowed", headers=headers)
    return bad_request("there is nothing at this path", status=404, code="not_found")

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
from paceline.server.guard import LIVENESS_PATHS, METRICS_PATH, Guard
from paceline.server.limits import Limits
from paceline.server.logs import AccessLog
from paceline.server.part import Part
from paceline.server.routes import operations
from paceline.server.routes.endpoint import EXCHANGE
from paceline.server.traffic import Traffic

# Answered while draining, and not waited for.
_ALWAYS_OPEN = LIVENESS_PATHS | {METRICS_PATH, "/ready"}


def all_routes(parts: Sequence[Part], traffic: Traffic) -> list[BaseRoute]:
    """What the parts offer, and what is there for operators."""
    return [*(route for part in parts for route in part.routes()), *operations.routes(parts, traffic)]


@final
class App:
    """Lets a request through the guard, finds its handler, and answers for whatever goes wrong."""

    def __init__(self, parts: Sequence[Part], traffic: Traffic, guard: Guard, limits: Limits, log: AccessLog) -> None:
        self.router = Router(all_routes(parts, traffic), redirect_slashes=False)
        self._parts = parts
        self._traffic = traffic
        self._guard = guard
        self._limits = limits
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        exchange = Exchange(scope, receive, send, self._limits)
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
        self._traffic.enter()
        try:
            await self.router(scope, receive, send)
        finally:
            self._traffic.leave()

    async def _fail(self, exchange: Exchange, error: Exception) -> None:
        refused = _http_error(error) if isinstance(error, HTTPException) else error
        fault = fault_of(refused, exchange.request_id)
        if fault.code == "internal_error":
            self._log.error(exchange, error)
        part = self._part_of(exchange.path)
        part.rejected(exchange, fault.code)
        try:
            await exchange.fail(fault, part.spell(fault))
        except ClientGone:
            exchange.status = 499

    def _part_of(self, path: str) -> Part:
        """Whose words an error is told in."""
        return max(self._parts, key=lambda part: len(part.prefix) if path.startswith(part.prefix) else -1)


def _http_error(error: HTTPException) -> Exception:
    """What the router finds wrong, in our words."""
    if error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "")
        headers = ((b"allow", allow.encode()),)
        return bad_request(f"use {allow}", status=405, code="method_not_allowed", headers=headers)
    return bad_request("there is nothing at this path", status=404, code="not_found")

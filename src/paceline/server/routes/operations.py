"""For operators: ``/health`` (live), ``/ready``, ``/version``, ``/metrics``, and what is decided and why."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.routing import Route

from paceline import __version__
from paceline.errors import NotReady
from paceline.llm.messages import EngineStats
from paceline.server.exchange import Exchange
from paceline.server.faults import Refused, unavailable
from paceline.server.guard import LIVENESS_PATH, METRICS_PATH
from paceline.server.routes.endpoint import route
from paceline.server.service import Service

_STATS_TIMEOUT_S = 1.0  # an engine inside a long step answers after it


def routes(service: Service) -> list[Route]:
    async def health(exchange: Exchange) -> None:
        """Live: this process answers and its engine has not been given up."""
        if service.engine.state == "stopped" and not service.traffic.draining:
            raise Refused(unavailable("the engine was given up", "engine_stopped", 5.0))
        await exchange.send_json({"status": "ok"})

    async def ready(exchange: Exchange) -> None:
        state = "draining" if service.traffic.draining else service.engine.state
        if state != "ready":
            raise Refused(unavailable(f"not ready: {state}", state, 5.0))
        await exchange.send_json({"status": "ready"})

    async def version(exchange: Exchange) -> None:
        await exchange.send_json({"version": __version__})

    async def metrics(exchange: Exchange) -> None:
        text = service.metrics.render(await _stats(service), service.engine.num_restarts, service.metrics_compat)
        await exchange.send(text, content_type=CONTENT_TYPE_LATEST.encode())

    async def speculation(exchange: Exchange) -> None:
        report = await service.engine.speculation()
        if report is None:
            await exchange.send_json({"policy": "off"})
            return
        counts: dict[str, Any] = msgspec.structs.asdict(report.stats)
        await exchange.send_json({**counts, "decisions": report.decisions})

    async def root(exchange: Exchange) -> None:
        """A signpost for whoever opens the address itself."""
        routes = exchange.scope["app"].router.routes
        endpoints = [f"{method} {route.path_format}" for route in routes for method in sorted(route.methods - {"HEAD"})]
        about = {"name": "paceline", "version": __version__, "model": service.model_name, "endpoints": endpoints}
        await exchange.send_json(about)

    return [
        route("GET", "/", root),
        route("GET", LIVENESS_PATH, health),
        route("GET", "/ready", ready),
        route("GET", "/version", version),
        route("GET", METRICS_PATH, metrics),
        route("GET", "/debug/speculation", speculation),
    ]


async def _stats(service: Service) -> EngineStats | None:
    try:
        async with asyncio.timeout(_STATS_TIMEOUT_S):
            return await service.engine.stats()
    except (NotReady, TimeoutError):
        return None

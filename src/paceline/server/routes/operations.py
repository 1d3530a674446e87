"""For operators: ``/health`` (live), ``/ready``, ``/version``, ``/metrics``, and what there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.routing import Route

from paceline import __version__
from paceline.server.exchange import Exchange
from paceline.server.faults import Refused, unavailable
from paceline.server.guard import METRICS_PATH
from paceline.server.part import Part
from paceline.server.routes.endpoint import route
from paceline.server.traffic import Traffic


def routes(parts: Sequence[Part], traffic: Traffic) -> list[Route]:
    async def health(exchange: Exchange) -> None:
        """Live: this process answers and no engine has been given up."""
        if any(part.engine.state == "stopped" for part in parts) and not traffic.draining:
            raise Refused(unavailable("the engine was given up", "engine_stopped", 5.0))
        await exchange.send_json({"status": "ok"})

    async def ready(exchange: Exchange) -> None:
        states = ["draining"] if traffic.draining else [part.engine.state for part in parts]
        for state in states:
            if state != "ready":
                raise Refused(unavailable(f"not ready: {state}", state, 5.0))
        await exchange.send_json({"status": "ready"})

    async def version(exchange: Exchange) -> None:
        await exchange.send_json({"version": __version__})

    async def metrics(exchange: Exchange) -> None:
        text = b"".join([await part.metrics() for part in parts])
        await exchange.send(text, content_type=CONTENT_TYPE_LATEST.encode())

    async def root(exchange: Exchange) -> None:
        """A signpost for whoever opens the address itself."""
        routes = exchange.scope["app"].router.routes
        endpoints = [f"{method} {route.path_format}" for route in routes for method in sorted(route.methods - {"HEAD"})]
        about: dict[str, Any] = {"name": "paceline", "version": __version__}
        for part in parts:
            about |= part.about()
        await exchange.send_json({**about, "endpoints": endpoints})

    return [
        route("GET", "/", root),
        route("GET", "/health", health),
        route("GET", "/ready", ready),
        route("GET", "/version", version),
        route("GET", METRICS_PATH, metrics),
    ]

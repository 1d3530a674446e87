"""``GET /debug/speculation``: what is drafted and why."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.routing import Route

from paceline.server.exchange import Exchange
from paceline.server.routes.endpoint import route
from paceline.server.service import Service


def routes(service: Service) -> list[Route]:
    async def speculation(exchange: Exchange) -> None:
        report = await service.engine.speculation()
        if report is None:
            await exchange.send_json({"policy": "off"})
            return
        counts: dict[str, Any] = msgspec.structs.asdict(report.stats)
        await exchange.send_json({**counts, "decisions": report.decisions})

    return [route("GET", "/debug/speculation", speculation)]

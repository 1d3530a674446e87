"""``GET /v1/models``: the one model that is served."""

from __future__ import annotations

from typing import Any

from starlette.routing import Route

from paceline.server.exchange import Exchange
from paceline.server.faults import bad_request
from paceline.server.routes.endpoint import route
from paceline.server.service import Service


def routes(service: Service) -> list[Route]:
    async def models(exchange: Exchange) -> None:
        await exchange.send_json({"object": "list", "data": [_model(service)]})

    async def model(exchange: Exchange) -> None:
        if exchange.scope["path_params"]["name"] != service.model_name:
            raise bad_request("no such model; see /v1/models", "model", status=404, code="model_not_found")
        await exchange.send_json(_model(service))

    return [route("GET", "/v1/models", models), route("GET", "/v1/models/{name:path}", model)]


def _model(service: Service) -> dict[str, Any]:
    return {
        "id": service.model_name,
        "object": "model",
        "created": service.created,
        "owned_by": "paceline",
        "max_model_len": service.engine.info.max_model_len,
    }

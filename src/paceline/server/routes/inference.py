"""``/v2``: the Open Inference Protocol, as Triton's clients speak it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
from starlette.routing import Route

from paceline import __version__
from paceline.errors import InvalidRequest, NotReady
from paceline.multiplex.messages import TenantInfo, TensorInfo
from paceline.server.body import explained
from paceline.server.exchange import Exchange
from paceline.server.faults import ClientGone, scrub
from paceline.server.guard import TENSORS_AT
from paceline.server.inference_body import VERSION, Inference, json_length, read_inference, write_answer
from paceline.server.inference_service import InferenceService
from paceline.server.routes.endpoint import route
from paceline.server.tensors import datatype_of

_EXTENSIONS = ("binary_tensor_data", "schedule_policy", "model_repository(index)")
_INDEX_BYTES = 64 * 1024
_OCTETS, _JSON = b"application/octet-stream", b"application/json"


class _Index(msgspec.Struct):
    """What a client wants to see of the repository."""

    ready: bool = False  # only models that take requests


def routes(service: InferenceService) -> list[Route]:
    def at(method: str, path: str, handler: Callable[[InferenceService, Exchange], Awaitable[None]]) -> Route:
        return route(method, path, partial(handler, service))

    found = [at("GET", "/v2", _server), at("GET", "/v2/health/live", _live), at("GET", "/v2/health/ready", _ready)]
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        found += [
            at("GET", path, _metadata), at("GET", f"{path}/ready", _model_ready), at("POST", f"{path}/infer", _infer),
        ]  # fmt: skip
    return [*found, at("POST", "/v2/repository/index", _index)]


async def _server(service: InferenceService, exchange: Exchange) -> None:
    await exchange.send_json({"name": "paceline", "version": __version__, "extensions": _EXTENSIONS})


async def _live(service: InferenceService, exchange: Exchange) -> None:
    if service.engine.state == "stopped":
        raise NotReady("the engine was given up")
    await exchange.send_json({"live": True})


async def _ready(service: InferenceService, exchange: Exchange) -> None:
    service.check_ready()
    await exchange.send_json({"ready": True})


async def _model_ready(service: InferenceService, exchange: Exchange) -> None:
    name = _model(service, exchange).name
    service.check_ready(name)
    await exchange.send_json({"name": name, "ready": True})


def _model(service: InferenceService, exchange: Exchange) -> TenantInfo:
    return service.model(**exchange.scope["path_params"])


async def _infer(service: InferenceService, exchange: Exchange) -> None:
    model = _model(service, exchange)
    service.metrics.offered(model.name)
    try:
        with service.held.share() as take:
            body = await exchange.read(service.limits.tensor_bytes, take)
            num_json = json_length(_tensors_at(exchange), len(body))
            request = await service.threads.run(
                num_json, read_inference, memoryview(body), num_json, model, service.limits
            )
            exchange.notes["rows"] = request.num_rows
            async with asyncio.timeout(service.limits.request_timeout_s):
                await exchange.unless_gone(_answer(service, exchange, model, request))
    except ClientGone:
        service.metrics.aborted(model.name)
        raise


async def _answer(service: InferenceService, exchange: Exchange, model: TenantInfo, request: Inference) -> None:
    outputs = await service.infer(model, request)
    num_json = sum(outputs[place].num_bytes for place, as_bytes in request.outputs if not as_bytes)
    parts, tensors_at = await service.threads.run(num_json, write_answer, request, model, outputs)
    if tensors_at is None:
        await exchange.send_parts(parts, _JSON, ())
    else:
        await exchange.send_parts(parts, _OCTETS, ((TENSORS_AT, str(tensors_at).encode()),))


def _tensors_at(exchange: Exchange) -> str | None:
    values = [value.decode("latin-1") for key, value in exchange.scope["headers"] if key == TENSORS_AT]
    if len(values) > 1:
        raise InvalidRequest("Inference-Header-Content-Length may be sent once", code="invalid_length")
    return values[0] if values else None


async def _metadata(service: InferenceService, exchange: Exchange) -> None:
    model = _model(service, exchange)
    about = {
        "name": model.name,
        "versions": [VERSION],
        "platform": "paceline",
        "inputs": [_tensor(info) for info in model.inputs],
        "outputs": [_tensor(info) for info in model.outputs],
        "parameters": {"family": model.family, "coalescible": model.coalescible, "reasons": model.reasons},
    }
    await exchange.send_json(about)


def _tensor(info: TensorInfo) -> dict[str, Any]:
    return {"name": info.name, "datatype": datatype_of(info.dtype).name, "shape": info.shape}


async def _index(service: InferenceService, exchange: Exchange) -> None:
    raw = await exchange.read(_INDEX_BYTES)
    with explained():
        only_ready = bool(raw) and msgspec.json.decode(raw, type=_Index).ready
    engine = service.engine
    entries = []
    for name in sorted({*engine.models, *engine.failures}):
        reason = engine.failures.get(name, "" if engine.state == "ready" else engine.state)
        if not (reason and only_ready):
            state = "UNAVAILABLE" if reason else "READY"
            entries.append({"name": name, "version": VERSION, "state": state, "reason": scrub(reason)})
    await exchange.send_json(entries)

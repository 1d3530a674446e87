"""The part of a server with many models: the Open Inference Protocol v2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

from starlette.routing import BaseRoute

from paceline.server.exchange import Exchange
from paceline.server.faults import Fault
from paceline.server.inference_service import InferenceService
from paceline.server.part import at_once
from paceline.server.port import TensorEngine
from paceline.server.routes import inference
from paceline.server.serve import ServeOptions


@final
class InferencePart:
    """Every path below ``/v2``, and errors as that protocol spells them."""

    prefix = "/v2"

    def __init__(self, service: InferenceService) -> None:
        self.service = service

    @property
    def engine(self) -> TensorEngine:
        return self.service.engine

    def routes(self) -> Sequence[BaseRoute]:
        return inference.routes(self.service)

    def about(self) -> Mapping[str, object]:
        return {"models": sorted(self.engine.models)}

    def spell(self, fault: Fault) -> bytes:
        return fault.plain_body()

    def rejected(self, exchange: Exchange, code: str) -> None:
        name = exchange.scope.get("path_params", {}).get("name", "")
        known = name if name in self.engine.models else ""  # names that clients make up are no labels
        self.service.metrics.rejected(known, code)

    async def metrics(self) -> bytes:
        return self.service.metrics.render(await at_once(self.engine.stats()), self.engine.num_restarts)

    def close(self) -> None:
        self.service.threads.close()


def open_inference(options: ServeOptions, engine: TensorEngine) -> InferencePart:
    """The part of ``engine``, whose models may still be loading."""
    return InferencePart(InferenceService(engine=engine, limits=options.limits))

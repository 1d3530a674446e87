"""What every route of many models works with, and the steps that they share."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import final

from paceline.errors import DeadlineExceeded, EngineDied, ExecutionError, ModelError, NotReady, RejectedError
from paceline.multiplex.messages import Array, TenantInfo
from paceline.server.faults import Fault, Refused, bad_request, unavailable
from paceline.server.inference_body import VERSION, Inference
from paceline.server.limits import Limits
from paceline.server.port import TensorEngine
from paceline.server.tenants import TenantMetrics
from paceline.server.traffic import Held, Threads


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceService:
    """Many models behind one engine."""

    engine: TensorEngine
    limits: Limits
    metrics: TenantMetrics = field(default_factory=TenantMetrics)
    held: Held = field(init=False)
    threads: Threads = field(init=False)

    def __post_init__(self) -> None:
        limits = self.limits
        object.__setattr__(self, "held", Held(limits.held_bytes))
        object.__setattr__(self, "threads", Threads(limits.tensor_threads, limits.inline_bytes, "tensors"))

    def model(self, name: str, version: str = VERSION) -> TenantInfo:
        """What is known of a model. Refused: 404; NotReady while it may still come."""
        model = self.engine.models.get(name)
        if model is not None and version == VERSION:
            return model
        if model is None and self.engine.state == "loading":
            raise NotReady("the models are loading")
        message = "there is no such model" if model is None else f"the model has one version, {VERSION}"
        raise bad_request(f"{message}; the repository's index lists them", "model", status=404, code="model_not_found")

    def check_ready(self, name: str = "") -> None:
        """NotReady unless the engine, and the model if one is named, takes requests now."""
        if self.engine.state != "ready":
            raise NotReady(f"not ready: {self.engine.state}")
        if name in self.engine.failures:
            raise Refused(unavailable(f"the model cannot be loaded: {self.engine.failures[name]}", "not_loaded", 30.0))

    async def infer(self, model: TenantInfo, request: Inference) -> list[Array]:
        """The model's outputs, counted. Raises what the client is to be told."""
        self.check_ready(model.name)
        began = time.monotonic()
        taken = True
        try:
            outputs = await self.engine.infer(
                model.name, request.inputs, deadline_s=request.timeout_s, priority=request.priority
            )
        except RejectedError:
            taken = False
            raise
        except (EngineDied, DeadlineExceeded):
            raise
        except (ExecutionError, ModelError) as error:
            message = f"the model failed on this request: {error}"
            raise Refused(Fault(status=500, message=message, type="server_error", code="model_failed")) from error
        finally:
            if taken:
                self.metrics.admitted(model.name)
        self.metrics.answered(model.name, time.monotonic() - began)
        return outputs

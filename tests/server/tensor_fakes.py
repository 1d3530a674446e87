"""A server of many models without any: an engine that does simple sums with numpy."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
import numpy as np

from paceline.errors import EngineDied, NotReady
from paceline.multiplex.messages import Array, RuntimeStats, TenantInfo, TenantStats, TensorInfo
from paceline.process.supervisor import State
from paceline.server.inference_part import InferencePart
from paceline.server.inference_service import InferenceService
from paceline.server.language_part import LanguagePart
from paceline.server.part import Part
from paceline.server.serve import HttpServer, ServeOptions
from tests.server.fakes import FakeEngine, make_service, serving

Values = np.ndarray[Any, Any]
TYPES = {
    "FP16": "float16", "FP32": "float32", "FP64": "float64", "INT8": "int8", "INT16": "int16", "INT32": "int32",
    "INT64": "int64", "UINT8": "uint8", "BOOL": "bool", "BF16": "bfloat16",
}  # fmt: skip


def info(name: str, inputs: Mapping[str, tuple[str, tuple[int, ...]]], outputs: Sequence[str]) -> TenantInfo:
    tensors = tuple(TensorInfo(each, dtype, shape) for each, (dtype, shape) in inputs.items())
    by_name = {tensor.name: tensor for tensor in tensors}
    return TenantInfo(
        name=name, inputs=tensors, family="f" * 64, coalescible=False, reasons=("it draws random numbers",),
        outputs=tuple(TensorInfo(f"{each}_out", by_name[each].dtype, by_name[each].shape) for each in outputs),
    )  # fmt: skip


class FakeModels:
    """``double`` doubles its input, ``pair`` gives both of its back, ``same_<type>`` gives back what it got."""

    def __init__(self) -> None:
        self.state: State = "ready"
        self.num_restarts = 0
        self.failures: dict[str, str] = {}
        self.failure: Exception | None = None  # raised by every request
        self.delay_s = 0.0
        self.asked: list[tuple[str, float | None, int]] = []
        self.num_cancelled = 0
        same = {
            name.lower(): info(f"same_{name.lower()}", {"x": (dtype, (-1, 3))}, "x") for name, dtype in TYPES.items()
        }
        self.models = {
            "double": info("double", {"x": ("float32", (-1, 4))}, "x"),
            "pair": info("pair", {"a": ("int64", (-1,)), "b": ("float32", (-1, 2, 2))}, "ba"),
            "wide": info("wide", {"x": ("float32", (-1, 1_000_000))}, "x"),
            **{model.name: model for model in same.values()},
        }

    async def start(self) -> None:
        self.state = "ready"

    async def infer(
        self, model: str, inputs: Sequence[Array], *, deadline_s: float | None = None, priority: int = 0
    ) -> list[Array]:
        if self.state != "ready":
            raise NotReady(f"the engine is {self.state}")
        self.asked.append((model, deadline_s, priority))
        try:
            await asyncio.sleep(self.delay_s)
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure
        if self.state != "ready":
            raise EngineDied("the engine process was killed by signal 9")
        if model == "double":
            return [array_of(2 * values_of(inputs[0]))]
        return [*reversed(inputs)] if model == "pair" else list(inputs)

    async def stats(self) -> RuntimeStats:
        if self.state != "ready":
            raise NotReady(f"the engine is {self.state}")
        tenants = {"double": TenantStats(num_done=3, num_late=1, device_time_s=0.5)}
        return RuntimeStats(num_launches=7, members_per_launch=(4, 0, 3), num_rows=13, tenants=tenants)

    async def stop(self, drain_s: float = 0.0) -> None:
        self.state = "stopped"


def array_of(values: Values) -> Array:
    return Array(str(values.dtype), values.shape, (values.tobytes(),))


def values_of(array: Array) -> Values:
    return np.frombuffer(b"".join(array.pieces), array.dtype).reshape(array.shape)


@dataclass
class Models:
    """A running server of many models."""

    engine: FakeModels
    service: InferenceService
    server: HttpServer
    client: httpx2.Client
    port: int

    def infer(self, model: str, body: Any, headers: Mapping[str, str] | None = None) -> httpx2.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(f"/v2/models/{model}/infer", content=content, headers=headers)

    def get(self, path: str) -> httpx2.Response:
        return self.client.get(path)


@contextlib.contextmanager
def running_models(*, language: FakeEngine | None = None, **options: Any) -> Iterator[Models]:
    """Serves a fake of many models, beside a fake language model if one is given."""
    serve_options = ServeOptions(port=0, **options)
    engine = FakeModels()
    service = InferenceService(engine=engine, limits=serve_options.limits)
    parts: list[Part] = [InferencePart(service)]
    if language is not None:
        parts.insert(0, LanguagePart(make_service(language, serve_options.limits)))
    with serving(serve_options, parts) as (server, client, port):
        yield Models(engine, service, server, client, port)


def tensor(name: str, datatype: str, shape: Sequence[int], data: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape), "data": data}


def with_bytes(body: Mapping[str, Any], *tensors: bytes) -> tuple[bytes, dict[str, str]]:
    """JSON with bytes behind it, and the header that says where it ends."""
    text = json.dumps(body).encode()
    return text + b"".join(tensors), {"inference-header-content-length": str(len(text))}


def split_answer(response: httpx2.Response) -> tuple[dict[str, Any], bytes]:
    """The JSON and what follows it."""
    length = int(response.headers["inference-header-content-length"])
    return json.loads(response.content[:length]), response.content[length:]


def assert_refused(response: httpx2.Response, status: int, text: str = "") -> None:
    """The protocol's error object, with nothing internal in it."""
    assert response.status_code == status, response.text
    error = response.json()
    assert list(error) == ["error"]
    assert text in error["error"], error
    assert "Traceback" not in error["error"]
    assert "/secret" not in error["error"]

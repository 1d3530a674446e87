"""The server with a real process of models behind it: answers, a killed engine, and models that come back."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import numpy as np
import pytest

from paceline.multiplex.remote import MultiplexProcess
from paceline.process.supervisor import SupervisorConfig
from paceline.server.inference_part import InferencePart
from paceline.server.inference_service import InferenceService
from paceline.server.listen import base_url, listen
from paceline.server.serve import HttpServer, ServeOptions
from tests.server.tensor_fakes import assert_refused, split_answer, tensor, with_bytes
from tests.server.test_lifecycle import until

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Served:
    engine: MultiplexProcess
    client: httpx2.Client

    def double(self, row: list[float]) -> httpx2.Response:
        return self.client.post("/v2/models/double/infer", json={"inputs": [tensor("x", "FP32", [1, 4], row)]})


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Models of the made-up runtime of the tests, in a process of their own."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT / "src"), str(ROOT))))
    folders = {name: tmp_path / name for name in ("double", "same", "sleep", "raise", "full")}
    for folder in folders.values():
        folder.mkdir()
    engine = MultiplexProcess(
        folders, supervision=SupervisorConfig(start_timeout_s=60.0, backoff_s=0.01), on_output=lambda line: None,
        worker="tests.multiplex.fake_worker",
    )  # fmt: skip
    options = ServeOptions(port=0)
    part = InferencePart(InferenceService(engine=engine, limits=options.limits))
    server = HttpServer(options, [part])
    sock = listen("127.0.0.1", 0)

    async def run() -> None:
        await engine.start()
        await server.serve([sock])
        await engine.stop()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    until(lambda: server.started or not thread.is_alive(), 60.0)
    with httpx2.Client(base_url=base_url(sock), timeout=20.0) as client:
        yield Served(engine, client)
    server.should_exit = True
    thread.join(20)
    part.close()
    assert not thread.is_alive()


def test_requests_reach_the_process_and_outlive_it(served: Served) -> None:
    assert served.double([1, 2, 3, 4]).json()["outputs"][0]["data"] == [2, 4, 6, 8]
    rows = np.random.default_rng(0).standard_normal((1_000_000, 4)).astype(np.float32)
    inputs = [{"name": "x", "datatype": "FP32", "shape": rows.shape, "parameters": {"binary_data_size": rows.nbytes}}]
    body, headers = with_bytes({"inputs": inputs, "parameters": {"binary_data_output": True}}, rows.tobytes())
    response = served.client.post("/v2/models/double/infer", content=body, headers=headers)
    assert split_answer(response)[1] == (rows * 2).tobytes()
    refused = served.client.post("/v2/models/full/infer", json={"inputs": [tensor("x", "FP32", [1, 4], [0] * 4)]})
    assert_refused(refused, 429, "the queue is full")
    assert refused.headers["retry-after"] == "3"
    failed = served.client.post("/v2/models/raise/infer", json={"inputs": [tensor("x", "FP32", [1, 4], [0] * 4)]})
    assert_refused(failed, 500, "the launch failed")
    assert "launch_requests" in served.client.get("/metrics").text

    answers: list[httpx2.Response] = []
    sleep = {"inputs": [tensor("x", "FP32", [1, 4], [5] * 4)]}
    asking = threading.Thread(target=lambda: answers.append(served.client.post("/v2/models/sleep/infer", json=sleep)))
    asking.start()
    until(lambda: served.engine.num_open == 1)
    assert served.engine.pid is not None
    os.kill(served.engine.pid, signal.SIGKILL)
    asking.join(20)
    assert_refused(answers[0], 503, "the engine stopped")
    assert served.client.get("/v2/health/live").status_code == 200
    end = time.monotonic() + 30
    while served.client.get("/v2/health/ready").status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert served.double([1, 2, 3, 4]).status_code == 200
    assert served.engine.num_restarts == 1

"""The Open Inference Protocol as clients see it: metadata, JSON and binary tensors, readiness, metrics, the end."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from paceline import __version__
from paceline.errors import (
    DeadlineExceeded,
    DeadlineInfeasible,
    EngineDied,
    ExecutionError,
    InvalidRequest,
    ModelError,
    NotReady,
    Quarantined,
    QueueFull,
)
from paceline.server.limits import Limits
from tests.server.fakes import FakeEngine
from tests.server.tensor_fakes import (
    TYPES,
    Models,
    assert_refused,
    running_models,
    split_answer,
    tensor,
    with_bytes,
)
from tests.server.test_bad_input import assert_error
from tests.server.test_lifecycle import until

ROW = tensor("x", "FP32", [1, 4], [1, 2, 3, 4])
ASK = {"inputs": [ROW]}


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    with running_models() as server:
        yield server


@pytest.fixture
def fresh() -> Iterator[Models]:
    """One whose engine the test may spoil."""
    with running_models() as server:
        yield server


def test_the_server_and_its_models_describe_themselves(models: Models) -> None:
    about = models.get("/v2").json()
    assert (about["name"], about["version"]) == ("paceline", __version__)
    assert "binary_tensor_data" in about["extensions"]
    pair = models.get("/v2/models/pair").json()
    assert (pair["name"], pair["versions"], pair["platform"]) == ("pair", ["1"], "paceline")
    assert pair["inputs"] == [
        {"name": "a", "datatype": "INT64", "shape": [-1]},
        {"name": "b", "datatype": "FP32", "shape": [-1, 2, 2]},
    ]
    assert [output["name"] for output in pair["outputs"]] == ["b_out", "a_out"]
    assert pair["parameters"]["reasons"] == ["it draws random numbers"]
    assert models.get("/v2/models/pair/versions/1").json() == pair
    index = models.client.post("/v2/repository/index").json()
    assert {"name": "pair", "version": "1", "state": "READY", "reason": ""} in index
    assert len(index) == len(models.engine.models)
    assert "POST /v2/models/{name}/infer" in models.get("/").json()["endpoints"]
    assert models.get("/").json()["models"] == sorted(models.engine.models)


@pytest.mark.parametrize(
    "path", ["/v2/health/live", "/v2/health/ready", "/v2/models/pair/ready", "/v2/models/pair/versions/1/ready"]
)
def test_it_is_live_and_ready(models: Models, path: str) -> None:
    assert models.get(path).status_code == 200


def test_json_in_json_out(models: Models) -> None:
    response = models.infer("double", {"id": "mine", **ASK})
    assert response.headers["content-type"] == "application/json"
    assert "inference-header-content-length" not in response.headers
    assert response.json() == {
        "model_name": "double", "model_version": "1", "id": "mine",
        "outputs": [{"name": "x_out", "datatype": "FP32", "shape": [1, 4], "data": [2.0, 4.0, 6.0, 8.0]}],
    }  # fmt: skip
    nested = {"inputs": [tensor("x", "FP32", [2, 4], [[1, 2, 3, 4], [5, 6, 7, 8]])]}
    answer = models.client.post("/v2/models/double/versions/1/infer", json=nested).json()
    assert "id" not in answer
    assert answer["outputs"][0]["data"] == [2, 4, 6, 8, 10, 12, 14, 16]


def test_bytes_in_bytes_out(models: Models) -> None:
    """Inputs in another order than the model's; their bytes follow the order of the request."""
    a, b = np.arange(3, dtype=np.int64), np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    inputs = [
        {"name": "b", "datatype": "FP32", "shape": [3, 2, 2], "parameters": {"binary_data_size": b.nbytes}},
        {"name": "a", "datatype": "INT64", "shape": [3], "parameters": {"binary_data_size": a.nbytes}},
    ]
    body, headers = with_bytes({"inputs": inputs, "parameters": {"binary_data_output": True}}, b.tobytes(), a.tobytes())
    response = models.infer("pair", body, headers)
    assert response.headers["content-type"] == "application/octet-stream"
    answer, rest = split_answer(response)
    assert answer["outputs"] == [
        {"name": "b_out", "datatype": "FP32", "shape": [3, 2, 2], "parameters": {"binary_data_size": 48}},
        {"name": "a_out", "datatype": "INT64", "shape": [3], "parameters": {"binary_data_size": 24}},
    ]
    assert rest == b.tobytes() + a.tobytes()


def test_outputs_are_chosen_one_by_one(models: Models) -> None:
    b = np.ones((1, 2, 2), np.float32)
    inputs = [
        tensor("a", "INT64", [1], [7]),
        {"name": "b", "datatype": "FP32", "shape": [1, 2, 2], "parameters": {"binary_data_size": 16}},
    ]
    body, headers = with_bytes({"inputs": inputs, "outputs": [{"name": "a_out"}]}, b.tobytes())
    assert models.infer("pair", body, headers).json()["outputs"] == [{**tensor("a_out", "INT64", [1], [7])}]
    outputs = [
        {"name": "a_out", "parameters": {"binary_data": True}},
        {"name": "b_out", "parameters": {"binary_data": False}},
    ]
    body, headers = with_bytes(
        {"inputs": inputs, "outputs": outputs, "parameters": {"binary_data_output": True}}, b.tobytes()
    )
    answer, rest = split_answer(models.infer("pair", body, headers))
    assert [output["name"] for output in answer["outputs"]] == ["a_out", "b_out"]
    assert answer["outputs"][1]["data"] == [1, 1, 1, 1]
    assert rest == struct.pack("<q", 7)


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_both_ways(models: Models, kind: str) -> None:
    bits = {"BF16": "uint16"}.get(kind, TYPES[kind])
    data = np.arange(6).astype(bits).tobytes()
    inputs = [{"name": "x", "datatype": kind, "shape": [2, 3], "parameters": {"binary_data_size": len(data)}}]
    body, headers = with_bytes({"inputs": inputs, "parameters": {"binary_data_output": True}}, data)
    assert split_answer(models.infer(f"same_{kind.lower()}", body, headers))[1] == data
    values: list[Any] = [True, False, True] if kind == "BOOL" else [1, 0, 2]
    answer = models.infer(f"same_{kind.lower()}", {"inputs": [tensor("x", kind, [1, 3], values)]}).json()
    assert answer["outputs"] == [tensor("x_out", kind, [1, 3], values)]


def test_timeout_and_priority_reach_the_engine(fresh: Models) -> None:
    """One is the most urgent for the protocol, the largest is for the engine."""
    sent = ({}, {"timeout": 0, "priority": 0}, {"timeout": 2500, "priority": 1, "mine": "ignored"}, {"priority": 5})
    for parameters in sent:
        assert fresh.infer("double", {**ASK, "parameters": parameters}).status_code == 200
    assert [asked[1:] for asked in fresh.engine.asked] == [(None, 0), (None, 0), (0.0025, 1), (None, -3)]


@pytest.mark.parametrize(
    ("failure", "status", "text"),
    [
        (QueueFull("the queue is full", retry_after_s=1.2), 429, "queue is full"),
        (DeadlineInfeasible("it takes 3 s"), 504, "3 s"),
        (DeadlineExceeded("late"), 504, "time ran out"),
        (Quarantined("failed again", retry_after_s=7.0), 503, "failed again"),
        (NotReady("restarting"), 503, "restarting"),
        (EngineDied("killed at 0x7f1234567890"), 503, "engine stopped"),
        (InvalidRequest("x is too long", param="x"), 400, "too long"),
        (ExecutionError("a launch failed in /secret/folder at 0x7f1234567890"), 500, "the model failed"),
        (ModelError("broken"), 500, "broken"),
        (ZeroDivisionError("/secret"), 500, "internal error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_every_failure_has_its_status(fresh: Models, failure: Exception, status: int, text: str) -> None:
    fresh.engine.failure = failure
    response = fresh.infer("double", ASK)
    assert_refused(response, status, text)
    assert ("retry-after" in response.headers) == (status in (429, 503))
    assert response.headers["x-request-id"]


def test_metrics_count_what_clients_were_told(fresh: Models) -> None:
    assert fresh.infer("double", ASK).status_code == 200
    assert_refused(fresh.infer("double", {"inputs": []}), 400)
    fresh.engine.failure = QueueFull("full")
    assert_refused(fresh.infer("double", ASK), 429)
    fresh.engine.failure = ExecutionError("failed")
    assert_refused(fresh.infer("double", ASK), 500)
    assert_refused(fresh.infer("nobody", ASK), 404)
    text = fresh.get("/metrics").text
    for line in (
        'offered_total{model="double"} 4.0', 'admitted_total{model="double"} 2.0',
        'rejected_total{model="double",reason="queue_full"} 1.0', 'rejected_total{model="double",reason="model_failed"} 1.0',
        'rejected_total{model="double",reason="invalid_value"} 1.0', 'rejected_total{model="",reason="model_not_found"} 1.0',
        'request_seconds_count{model="double"} 1.0', 'launch_requests_bucket{le="2.0"} 4.0', "launch_requests_count 7.0",
        "launch_requests_sum 13.0", 'device_seconds_total{model="double"} 0.5', 'late_total{model="double"} 1.0',
        "engine_restarts_total 0.0",
    ):  # fmt: skip
        assert f"\npaceline_multiplex_{line}\n" in text, line
    fresh.engine.state = "restarting"
    assert "launch_requests" not in fresh.get("/metrics").text


def test_loading_restarting_and_broken_models_say_so(fresh: Models) -> None:
    known = dict(fresh.engine.models)
    fresh.engine.models.clear()
    fresh.engine.state = "loading"
    for response in (fresh.infer("double", ASK), fresh.get("/v2/health/ready"), fresh.get("/v2/models/double")):
        assert_refused(response, 503, "loading")
        assert response.headers["retry-after"]
    assert fresh.get("/v2/health/live").status_code == 200
    fresh.engine.models.update(known)
    fresh.engine.state = "restarting"
    assert_refused(fresh.infer("double", ASK), 503, "restarting")
    assert fresh.get("/v2/models/double").status_code == 200
    fresh.engine.state = "ready"
    fresh.engine.failures["double"] = "no weights in /secret/folder"
    assert_refused(fresh.infer("double", ASK), 503, "cannot be loaded")
    assert_refused(fresh.get("/v2/models/double/ready"), 503, "no weights in [...]")
    index = fresh.client.post("/v2/repository/index", content=b'{"ready": true}').json()
    assert "double" not in [entry["name"] for entry in index]
    [entry] = [entry for entry in fresh.client.post("/v2/repository/index").json() if entry["name"] == "double"]
    assert (entry["state"], entry["reason"]) == ("UNAVAILABLE", "no weights in [...]")
    assert (
        fresh.infer(
            "pair", {"inputs": [tensor("a", "INT64", [1], [1]), tensor("b", "FP32", [1, 2, 2], [0] * 4)]}
        ).status_code
        == 200
    )
    fresh.engine.state = "stopped"
    assert_refused(fresh.get("/v2/health/live"), 503)
    assert_refused(fresh.get("/health"), 503)


def raw_request(body: bytes, extra: str = "") -> bytes:
    head = f"POST /v2/models/double/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


def test_whoever_leaves_is_forgotten(fresh: Models) -> None:
    fresh.engine.delay_s = 30.0
    with socket.create_connection(("127.0.0.1", fresh.port), timeout=10) as sock:
        sock.sendall(raw_request(json.dumps(ASK).encode()))
        until(lambda: len(fresh.engine.asked) == 1)
    until(lambda: fresh.engine.num_cancelled == 1 and fresh.server.traffic.num_open == 0)
    assert 'aborted_total{model="double"} 1.0' in fresh.get("/metrics").text


def test_the_servers_own_time_limit_holds() -> None:
    with running_models(limits=Limits(request_timeout_s=0.1)) as server:
        server.engine.delay_s = 30.0
        assert_refused(server.infer("double", ASK), 504)
        assert server.engine.num_cancelled == 1


def test_draining_finishes_what_is_open_and_takes_nothing_new(fresh: Models) -> None:
    fresh.engine.delay_s = 0.5
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(fresh.infer("double", ASK).status_code))
    asking.start()
    until(lambda: len(fresh.engine.asked) == 1)
    fresh.server.servers[0].get_loop().call_soon_threadsafe(fresh.server.on_signal)
    until(lambda: fresh.server.traffic.draining)
    with contextlib.closing(socket.create_connection(("127.0.0.1", fresh.port), timeout=10)) as sock:
        sock.sendall(raw_request(json.dumps(ASK).encode()))
        assert b" 503 " in sock.makefile("rb").readline()
    with contextlib.closing(socket.create_connection(("127.0.0.1", fresh.port), timeout=10)) as sock:
        sock.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 503 " in sock.makefile("rb").readline()
    asking.join(10)
    assert answers == [200]
    until(lambda: fresh.server.should_exit)
    assert fresh.engine.state == "stopped"
    assert fresh.server.finished_all


def test_both_kinds_of_models_on_one_port() -> None:
    with running_models(language=FakeEngine()) as server:
        assert server.infer("double", ASK).status_code == 200
        assert server.client.post("/v1/completions", json={"prompt": "x", "max_tokens": 2}).status_code == 200
        assert_refused(server.get("/v2/nothing"), 404)
        assert_error(server.get("/v1/nothing"), 404)
        assert_error(server.client.post("/v1/completions", json={"prompt": ""}), 400, "prompt")
        text = server.get("/metrics").text
        assert "\npaceline:rejected_total" in text
        assert '\npaceline_multiplex_offered_total{model="double"} 1.0' in text
        about = server.get("/").json()
        assert about["model"] == "fake-model"
        assert "double" in about["models"]
        server.engine.state = "restarting"
        assert_error(server.get("/ready"), 503)
        assert server.client.post("/v1/completions", json={"prompt": "x", "max_tokens": 2}).status_code == 200


def test_keys_guard_the_tensors() -> None:
    with running_models(api_keys=("correct horse",)) as server:
        assert_refused(server.infer("double", ASK), 401, "API key")
        assert server.infer("double", ASK, {"authorization": "Bearer correct horse"}).status_code == 200
        assert server.get("/v2/health/live").status_code == 200
        assert_refused(server.get("/v2/health/ready"), 401)


def test_large_tensors_pass_and_others_are_served_meanwhile(fresh: Models) -> None:
    """48 MB of numbers as bytes, and 6 MB as JSON, both ways."""
    values = np.random.default_rng(0).standard_normal((12, 1_000_000)).astype(np.float32)
    inputs = [
        {"name": "x", "datatype": "FP32", "shape": [12, 1_000_000], "parameters": {"binary_data_size": values.nbytes}}
    ]
    body, headers = with_bytes({"inputs": inputs, "parameters": {"binary_data_output": True}}, values.tobytes())
    answers: list[bytes] = []
    asking = threading.Thread(target=lambda: answers.append(split_answer(fresh.infer("wide", body, headers))[1]))
    asking.start()
    while asking.is_alive():
        assert fresh.get("/v2/health/live").status_code == 200
    assert answers == [values.tobytes()]
    small = {"inputs": [tensor("x", "FP32", [1, 1_000_000], np.round(values[0], 3).tolist())]}
    [output] = fresh.infer("wide", small).json()["outputs"]
    assert np.array_equal(np.array(output["data"], np.float32), np.round(values[0], 3))


# What tritonclient 2.73 sends for an infer() without options: no content type, this JSON, the bytes behind it.
TRITON = (
    b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","parameters":{"binary_data_size":16}}],'
    b'"parameters":{"binary_data_output":true}}'
)


def test_the_bytes_of_tritonclient(models: Models) -> None:
    body = TRITON + np.array([1, 2, 3, 4], np.float32).tobytes()
    extra = f"Connection: close\r\nInference-Header-Content-Length: {len(TRITON)}\r\n"
    with socket.create_connection(("127.0.0.1", models.port), timeout=10) as sock:
        sock.sendall(raw_request(body, extra))
        answer = sock.makefile("rb").read()
    head, _, content = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    length = int(re.search(rb"inference-header-content-length: (\d+)", head.lower())[1])  # type: ignore[index]
    assert json.loads(content[:length])["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert np.frombuffer(content[length:], np.float32).tolist() == [2, 4, 6, 8]


@pytest.mark.skipif(importlib.util.find_spec("tritonclient") is None, reason="tritonclient is not installed")
def test_tritonclient_works_unchanged(models: Models) -> None:
    from tritonclient import http  # type: ignore[import-not-found]

    client = http.InferenceServerClient(f"127.0.0.1:{models.port}")
    assert client.is_server_live()
    assert client.is_model_ready("double")
    sent = http.InferInput("x", [1, 4], "FP32")
    sent.set_data_from_numpy(np.ones((1, 4), np.float32))
    assert client.infer("double", [sent]).as_numpy("x_out").tolist() == [[2, 2, 2, 2]]

"""Hostile and mistaken tensors: the right status, a reason without anything internal, and the server goes on."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paceline.server.limits import Limits
from tests.server.tensor_fakes import Models, assert_refused, running_models, split_answer, tensor, with_bytes
from tests.server.test_lifecycle import until

ROW = tensor("x", "FP32", [1, 4], [1, 2, 3, 4])
BYTES = {"name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": 16}}
A, B = tensor("a", "INT64", [2], [1, 2]), tensor("b", "FP32", [2, 2, 2], [0] * 8)
DEEP: Any = 1
for _ in range(500):
    DEEP = [DEEP]


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    with running_models(limits=Limits(tensor_bytes=1_000_000, body_timeout_s=1.0)) as server:
        yield server
        good = server.infer("double", {"inputs": [ROW]})
        assert good.json()["outputs"][0]["data"] == [2, 4, 6, 8]


def changed(**fields: Any) -> dict[str, Any]:
    return {"inputs": [{**ROW, **fields}]}


BAD: list[tuple[Any, str]] = [
    *[(changed(shape=shape), "the model takes [-1, 4]") for shape in (
        [], [4], [4, 1], [1, 5], [0, 4], [-1, 4], [1, -4], [-1, -4], [1, 4, 1], [2**31, 4], [2**63, 4], [10**30, 4], [1] * 10_000,
    )],
    *[(changed(shape=shape), "") for shape in (None, 4, "1,4", [1.5, 4], ["1", 4], [True, 4], [[1], 4], {}, [10**400, 4])],
    *[(changed(shape=[rows, 4]), "elements, data holds 4") for rows in (2, 2**31 - 1)],
    (changed(data=[1, 2, 3]), "means 4 elements, data holds 3"),
    (changed(data=[1] * 100_000), "data holds more"),
    *[(changed(data=data), "'x'") for data in (
        None, [], "AAAA", 4, {}, [[1, 2, 3]], ["1", "2", "3", "4"], [1, 2, 3, None], [1, 2, 3, {}], [1, 2, 3, 1e39], DEEP,
    )],
    *[(changed(datatype=kind), "the model takes FP32") for kind in ("FP64", "INT32", "BYTES", "fp32", "FP32 ", "", "F" * 10_000)],
    *[(changed(datatype=kind), "") for kind in (None, 5, ["FP32"])],
    *[(changed(name=name), "the model takes the inputs 'x'") for name in ("y", "", "X", "x" * 10_000, "../x", "\x00")],
    *[({"inputs": inputs}, "the model takes the inputs 'x', got") for inputs in ([], [ROW, ROW], [ROW, A], [A])],
    *[({"inputs": inputs}, "") for inputs in (None, {}, [None], [5], [[]], [{}], "x", ROW)],
    ({"inputs": [ROW] * 10_000}, "got 'x', 'x'"),
    ({}, "inputs"),
    ({"inputs": [{**ROW, "parameters": {"shared_memory_region": "r"}}]}, "shared memory"),
    *[({"inputs": [{**ROW, "parameters": parameters}]}, "") for parameters in (5, [], "x", {"binary_data_size": "16"})],
    *[({"inputs": [ROW], "outputs": outputs}, "'x_out'") for outputs in (
        [{"name": "y"}], [{"name": "x_out"}] * 2, [{"name": ""}], [{"name": "y" * 10_000}],
    )],
    *[({"inputs": [ROW], "outputs": outputs}, "") for outputs in (5, {}, [5], [{}], [{"name": 5}], [{"name": "x_out", "parameters": 5}])],
    ({"inputs": [ROW], "outputs": [{"name": "x_out", "parameters": {"classification": 3}}]}, "classification"),
    ({"inputs": [ROW], "outputs": [{"name": "x_out", "parameters": {"shared_memory_region": "r"}}]}, "shared memory"),
    *[({"inputs": [ROW], "parameters": parameters}, "") for parameters in (
        5, [], {"timeout": -1}, {"timeout": 1.5}, {"timeout": "1"}, {"timeout": True}, {"priority": -1}, {"priority": 0.5}, {"timeout": 10**400}, {"priority": 2**70},
        {"binary_data_output": 1}, {"sequence_id": 7}, {"sequence_id": "a"},
    )],
    *[({"inputs": [ROW], "id": value}, "id") for value in (5, [], "x" * 257)],
]  # fmt: skip


@pytest.mark.parametrize(("body", "text"), BAD, ids=lambda value: str(value)[:60] if isinstance(value, dict) else "")
def test_a_body_that_does_not_fit_is_refused(models: Models, body: Any, text: str) -> None:
    assert_refused(models.infer("double", body), 400, text)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [([A], "got 'a'"), ([A, A], "got 'a', 'a'"), ([A, {**B, "shape": [1, 2, 2], "data": [0] * 4}], "same number of rows")],
)  # fmt: skip
def test_several_inputs_must_fit_each_other(models: Models, inputs: Any, text: str) -> None:
    assert_refused(models.infer("pair", {"inputs": inputs}), 400, text)


RAW = [
    b"", b"{", b"[]", b"null", b"5", b'"x"', b"{} x", b"\xef\xbb\xbf{}", b"\x00" * 100, b'{"inputs":[' * 50_000,
    b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b'{"zzz":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    json.dumps({"inputs": [ROW]}).encode("utf-16"), json.dumps(changed()).replace("[1, 2, 3, 4]", "[1, 2, 3, NaN]").encode(),
    json.dumps(changed()).replace("[1, 2, 3, 4]", "[1, 2, 3, Infinity]").encode(),
    json.dumps(changed()).replace("[1, 2, 3, 4]", "[1, 2, 3, 1e999]").encode(),
    json.dumps(changed()).replace("[1, 2, 3, 4]", "[1, 2, 3, " + "9" * 5000 + "]").encode(),
    json.dumps(changed()).replace('"x"', '"\\ud800"').encode(), json.dumps(changed()).replace('"x"', '"\xff"').encode("latin-1"),
]  # fmt: skip


@pytest.mark.parametrize("raw", RAW, ids=lambda raw: repr(raw[:24]))
def test_what_is_no_json_of_the_protocol_is_refused(models: Models, raw: bytes) -> None:
    assert_refused(models.infer("double", raw), 400)


DATA = np.array([1, 2, 3, 4], np.float32).tobytes()
LYING: list[tuple[Any, bytes, str | None]] = [  # parameters of the input, bytes that follow, another header
    (16, b"", None), (16, DATA[:15], None), (16, DATA + b"x", None), (15, DATA, None), (17, DATA + b"x", None), (0, b"", None),
    (-1, DATA, None), (-16, DATA, None), (2**62, DATA, None), (10**30, DATA, None), (1.5, DATA, None), (None, DATA, None),
    *[(16, DATA, header) for header in ("-1", "0", "1", "1e3", "+5", "99999999", "9" * 400, "", "x", "0x10", "1,2", "٣")],
]  # fmt: skip


@pytest.mark.parametrize(("size", "rest", "header"), LYING)
def test_lies_about_sizes_are_refused(models: Models, size: Any, rest: bytes, header: str | None) -> None:
    body, headers = with_bytes({"inputs": [{**BYTES, "parameters": {"binary_data_size": size}}]}, rest)
    if header is not None:
        headers = {"inference-header-content-length": header.encode("utf-8")}  # type: ignore[dict-item]
    assert_refused(models.infer("double", body, headers), 400)


def test_the_header_may_come_once_and_data_in_one_form(models: Models) -> None:
    body, headers = with_bytes({"inputs": [BYTES]}, DATA)
    twice = [*headers.items(), *headers.items()]
    response = models.client.post("/v2/models/double/infer", content=body, headers=twice)
    assert_refused(response, 400, "once")
    body, headers = with_bytes({"inputs": [{**BYTES, "data": [1, 2, 3, 4]}]}, DATA)
    assert_refused(models.infer("double", body, headers), 400, "data or binary_data_size")
    assert_refused(models.infer("double", {"inputs": [BYTES]}), 400, "0 bytes that are left")


def test_not_a_number_is_welcome_as_bytes(models: Models) -> None:
    """It stays in its rows: that is for the engine to keep."""
    data = np.array([1, np.nan, np.inf, 4], np.float32).tobytes()
    body, headers = with_bytes({"inputs": [BYTES], "parameters": {"binary_data_output": True}}, data)
    rest = split_answer(models.infer("double", body, headers))[1]
    assert np.array_equal(np.frombuffer(rest, np.float32), [2, np.nan, np.inf, 8], equal_nan=True)


@pytest.mark.parametrize(
    "path",
    ["nobody", "double/versions/2", "double/versions/01", "..", "%2e%2e", "double%00", "x" * 5000, "Double"],
)  # fmt: skip
def test_unknown_models_and_versions_are_not_found(models: Models, path: str) -> None:
    assert_refused(models.client.post(f"/v2/models/{path}/infer", json={"inputs": [ROW]}), 404)
    assert_refused(models.get(f"/v2/models/{path}/ready"), 404)
    assert 'model="nobody"' not in models.get("/metrics").text


def test_other_methods_and_paths_have_their_own_answers(models: Models) -> None:
    response = models.get("/v2/models/double/infer")
    assert_refused(response, 405, "POST")
    assert response.headers["allow"] == "POST"
    for path in (
        "/v2/",
        "/v2/models",
        "/v2/models/",
        "/v2/models/double/",
        "/v2/models/double/load",
        "/V2",
        "/v2/health",
    ):
        assert_refused(models.get(path), 404)
    for body in (b"{", b"[]", b'{"ready": 1}', b"x" * 100):
        assert_refused(models.client.post("/v2/repository/index", content=body), 400)
    assert_refused(models.client.post("/v2/repository/index", content=b" " * 70_000), 413)


def test_compressed_bodies_are_refused(models: Models) -> None:
    for encoding in ("gzip", "deflate", "br"):
        assert_refused(models.infer("double", b"x", {"content-encoding": encoding}), 415, "Content-Encoding")


@pytest.mark.parametrize("size", [1_000_001, 3_900_000])
def test_a_body_that_is_too_large_is_told_so(models: Models, size: int) -> None:
    assert_refused(models.infer("double", b" " * size), 413, "1000000 bytes")
    assert models.infer("double", json.dumps({"inputs": [ROW]}).encode().ljust(999_999)).status_code == 200


def test_a_length_without_a_body_costs_nothing(models: Models) -> None:
    with socket.create_connection(("127.0.0.1", models.port), timeout=10) as sock:
        sock.sendall(b"POST /v2/models/double/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
        assert b" 413 " in sock.makefile("rb").readline()


def test_a_slow_body_is_cut_off_and_holds_nothing(models: Models) -> None:
    with socket.create_connection(("127.0.0.1", models.port), timeout=10) as sock:
        sock.sendall(b"POST /v2/models/double/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n\r\n")
        sock.sendall(b"{" + b" " * 50_000)
        until(lambda: models.service.held._num_bytes > 0)
        assert models.infer("double", {"inputs": [ROW]}).status_code == 200
        assert b" 408 " in sock.makefile("rb").readline()
    until(lambda: models.service.held._num_bytes == 0)


def test_bodies_together_are_bounded() -> None:
    """Each is allowed, all of them are not: who is too much is told to come back."""
    limits = Limits(tensor_bytes=400_000, held_bytes=1_000_000, body_timeout_s=20.0)
    with running_models(limits=limits) as server:
        socks = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(2)]
        for sock in socks:
            sock.sendall(b"POST /v2/models/double/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 400000\r\n\r\n")
            sock.sendall(b" " * 399_999)
        until(lambda: server.service.held._num_bytes == 2 * 399_999)
        refused = server.infer("double", b" " * 300_000)
        assert_refused(refused, 429, "open requests hold")
        assert refused.headers["retry-after"]
        for sock in socks:
            sock.close()
        until(lambda: server.service.held._num_bytes == 0)
        assert server.infer("double", {"inputs": [ROW]}).status_code == 200


def test_bad_requests_leave_the_others_alone_and_nothing_behind(models: Models) -> None:
    """Four clients at once, one of them with what is wrong."""
    stop = threading.Event()
    wrong: list[int] = []

    def ask(number: int) -> None:
        body = {"inputs": [tensor("x", "FP32", [1, 4], [number] * 4)]}
        while not stop.is_set():
            [output] = models.infer("double", body).json()["outputs"]
            wrong.extend([number] if output["data"] != [2 * number] * 4 else [])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for raw in RAW:
        assert_refused(models.infer("double", raw), 400)
    stop.set()
    for thread in threads:
        thread.join(20)
    assert wrong == []
    until(lambda: models.service.held._num_bytes == 0)  # given back a moment after the answer is out


def test_shapes_allocate_nothing(models: Models) -> None:
    before = resident_bytes()
    for _ in range(20):
        assert_refused(models.infer("double", changed(shape=[2**31 - 1, 4])), 400)
        body, headers = with_bytes({"inputs": [{**BYTES, "shape": [2**31 - 1, 4]}]}, DATA)
        assert_refused(models.infer("double", body, headers), 400, "binary_data_size is 16")
    time.sleep(0.01)
    assert resident_bytes() - before < 64 * 2**20


def resident_bytes() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024

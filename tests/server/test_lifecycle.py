"""What happens when clients leave, engines fail, time runs out or the server is told to stop."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest

from paceline.errors import EngineDied, InvalidRequest, NotReady, QueueFull
from paceline.server.limits import Limits
from tests.server.fakes import NAME, FakeEngine, Running, running
from tests.server.test_bad_input import assert_error
from tests.server.test_completions import expected

ASK = {"prompt": "hello", "max_tokens": 6}


def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "did not come about in time"
        time.sleep(0.005)


def send(server: Running, body: dict[str, Any]) -> socket.socket:
    data = json.dumps(body).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    sock.sendall(head.encode() + data)
    return sock


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("prompt", ["hello", ["a", "b", "c"]])
def test_whoever_leaves_is_forgotten(server: Running, stream: bool, prompt: Any) -> None:
    server.engine.step_s = 0.02
    sock = send(server, {"prompt": prompt, "max_tokens": 1000, "stream": stream})
    until(lambda: len(server.engine.open) == (1 if prompt == "hello" else 3))
    if stream:
        assert b"200" in sock.recv(100)
    sock.close()
    until(lambda: not server.engine.open)
    assert len(server.engine.aborted) == (1 if prompt == "hello" else 3)
    until(lambda: server.server.traffic.num_open == 0)
    name = "stream" if stream else "plain"
    assert f'paceline:aborted_total{{model_name="{NAME}",stage="{name}"}} 1.0' in server.get("/metrics").text


def test_leaving_before_the_first_token_aborts(server: Running) -> None:
    server.engine.step_s = 5.0
    sock = send(server, {**ASK, "stream": True})
    until(lambda: len(server.engine.open) == 1)
    sock.close()
    until(lambda: len(server.engine.aborted) == 1)


def test_leaving_inside_the_body_leaves_nothing(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        until(lambda: server.server.traffic.num_open == 1)
    until(lambda: server.server.traffic.num_open == 0)
    assert not server.engine.requests


FAILURES: list[tuple[Exception, int, str | None]] = [
    (InvalidRequest("the regex is broken", param="guided_regex"), 400, "guided_regex"),
    (QueueFull("the queue is full", retry_after_s=3.2), 429, None),
    (NotReady("the engine is restarting"), 503, None),
    (EngineDied("killed at 0x7f1234567890 in /opt/secret/path"), 503, None),
    (RuntimeError("oops at 0x7f1234567890 in /opt/secret/path"), 500, None),
]


@pytest.mark.parametrize(("failure", "status", "param"), FAILURES)
@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_before_the_first_token_has_its_status(
    server: Running, failure: Exception, status: int, param: str | None, stream: bool
) -> None:
    server.engine.failure = failure
    response = server.post("/v1/completions", {**ASK, "stream": stream}, headers={"x-request-id": "mine-1"})
    assert_error(response, status, param)
    assert ("retry-after" in response.headers) == (status in (429, 503))
    assert response.headers["x-request-id"] == "mine-1"
    assert ("mine-1" in response.text) == (status == 500)
    assert not server.engine.open


@pytest.mark.parametrize(("reason", "status"), [("deadline", 504), ("abort", 503), ("error", 500)])
def test_what_the_engine_gave_up_is_an_error(server: Running, reason: str, status: int) -> None:
    server.engine.last_delta = {"finish_reason": reason, "error": "row 3 at 0x7fffffffffff is not a number"}
    assert_error(server.post("/v1/completions", ASK), status)
    response = server.post("/v1/completions", {**ASK, "stream": True})
    assert response.status_code == 200
    *_, last = response.text.strip().split("\n\n")
    assert last.startswith("event: error\ndata: ")
    assert "[DONE]" not in response.text
    assert set(json.loads(last.partition("data: ")[2])["error"]) == {"message", "type", "param", "code"}


def test_an_engine_that_dies_ends_every_request_with_an_error(server: Running) -> None:
    server.engine.step_s = 0.01
    with server.stream("/v1/completions", {"prompt": "x", "max_tokens": 1000, "stream": True}) as response:
        lines = response.iter_lines()
        next(lines)
        server.engine.state = "restarting"
        rest = "\n".join(lines)
    assert "event: error" in rest
    assert "engine_restarting" in rest
    assert "[DONE]" not in rest
    assert_error(server.get("/ready"), 503)
    assert server.get("/health").status_code == 200
    assert_error(server.post("/v1/completions", ASK), 503)
    server.engine.state = "ready"
    assert server.post("/v1/completions", ASK).status_code == 200
    server.engine.state = "stopped"
    assert_error(server.get("/health"), 503)


def test_openai_clients_see_the_error_of_a_stream(server: Running) -> None:
    server.engine.last_delta = {"finish_reason": "error"}
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0)
    with pytest.raises(openai.APIError):
        list(client.completions.create(model=NAME, prompt="x", stream=True))


def test_an_engine_that_does_not_answer_is_not_waited_for(server: Running) -> None:
    server.engine.step_s = 30.0
    assert_error(server.post("/v1/completions", {**ASK, "timeout": 0.05}), 504)
    until(lambda: not server.engine.open)


def test_a_model_that_is_loading_is_live_but_not_ready() -> None:
    engine = FakeEngine()
    engine.state = "loading"
    with running(engine) as server:
        assert server.get("/health").status_code == 200
        assert_error(server.get("/ready"), 503)
        assert_error(server.post("/v1/completions", ASK), 503)
        assert server.get("/metrics").status_code == 200


def test_a_full_queue_says_when_to_come_back() -> None:
    with running(FakeEngine(max_open=2)) as server:
        response = server.post("/v1/completions", {"prompt": ["a", "b", "c"]})
        assert_error(response, 429)
        assert response.headers["retry-after"] == "2"
        assert not server.engine.open
        assert len(server.engine.aborted) == 2


def test_a_client_that_reads_nothing_is_cut_off() -> None:
    with running(FakeEngine(max_model_len=10**6), limits=Limits(write_stall_s=0.3)) as server:
        sock = send(server, {"prompt": "x", "max_tokens": 100_000, "stream": True})
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        until(lambda: len(server.engine.open) == 1)
        until(lambda: len(server.engine.aborted) == 1, 30.0)
        assert server.post("/v1/completions", ASK).json()["choices"][0]["text"] == expected("hello", 6)
        sock.close()


def test_long_texts_are_read_beside_the_event_loop(server: Running) -> None:
    entered, leave = threading.Event(), threading.Event()
    plain = server.service.codec.encode

    def slow(text: str, **options: Any) -> list[int]:
        if len(text) > 3000:
            entered.set()
            assert leave.wait(20)
        return plain(text, **options)

    server.service.codec.encode = slow  # type: ignore[method-assign]
    object.__setattr__(server.service.threads, "_inline_size", 1000)
    with send(server, {"prompt": "y" * 3500}) as sock:
        assert entered.wait(10)
        assert server.post("/v1/completions", ASK).json()["choices"][0]["text"] == expected("hello", 6)
        leave.set()
        assert sock.recv(12) == b"HTTP/1.1 200"


def drain(server: Running) -> None:
    loop = server.server.servers[0].get_loop()
    loop.call_soon_threadsafe(server.server.on_signal)
    until(lambda: server.server.traffic.draining)


def test_draining_finishes_what_is_open_and_takes_nothing_new() -> None:
    with running(FakeEngine(step_s=0.02)) as server:
        with server.stream("/v1/completions", {"prompt": "hello", "max_tokens": 30, "stream": True}) as response:
            lines = response.iter_lines()
            first = next(lines)
            drain(server)
            assert_error(server.get("/ready"), 503)
            assert server.get("/health").status_code == 200
            refused = server.post("/v1/completions", ASK)
            assert_error(refused, 503)
            assert "retry-after" in refused.headers
            data = [line.removeprefix("data: ") for line in (first, *lines) if line]
        assert data.pop() == "[DONE]"
        assert "".join(json.loads(event)["choices"][0]["text"] for event in data) == expected("hello", 30)
        until(lambda: server.server.should_exit)
        assert server.server.finished_all
        assert server.engine.state == "stopped"


def test_draining_gives_up_after_its_time() -> None:
    with running(FakeEngine(step_s=0.02), limits=Limits(drain_timeout_s=0.2)) as server:
        with server.stream("/v1/completions", {"prompt": "x", "max_tokens": 4000, "stream": True}) as response:
            lines = response.iter_lines()
            next(lines)
            drain(server)
            assert "event: error" in "\n".join(lines)
        until(lambda: server.server.should_exit)
        assert not server.server.finished_all


def test_a_second_signal_leaves_at_once() -> None:
    with running(FakeEngine(step_s=0.02)) as server:
        sock = send(server, {"prompt": "x", "max_tokens": 4000, "stream": True})
        until(lambda: len(server.engine.open) == 1)
        drain(server)
        drain(server)
        until(lambda: server.server.should_exit and server.server.force_exit)
        sock.close()


def test_a_second_signal_to_an_idle_server_cuts_nothing_short() -> None:
    with running() as server:
        drain(server)
        drain(server)
        until(lambda: server.server.should_exit)
        assert server.server.finished_all

"""Logs: one line a request, nothing a client wrote can start a new one, prompts stay out."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from paceline.server.logs import LogFormat, set_up_logs
from tests.server.fakes import Running
from tests.server.test_lifecycle import until


@pytest.fixture(params=["json", "text"])
def log(request: pytest.FixtureRequest) -> Iterator[tuple[LogFormat, io.StringIO]]:
    root, before, level = logging.getLogger(), list(logging.getLogger().handlers), logging.getLogger().level
    stream = io.StringIO()
    for handler in before:
        root.removeHandler(handler)
    set_up_logs(request.param, "info", stream)
    yield request.param, stream
    root.handlers[:] = before
    root.setLevel(level)


def own_lines(stream: io.StringIO) -> list[str]:
    return [line for line in stream.getvalue().splitlines() if "request_id" in line]


def test_requests_leave_one_line_without_their_prompt(server: Running, log: tuple[LogFormat, io.StringIO]) -> None:
    log_format, stream = log
    path = "/x%0d%0aforged%1b[2J" + "y" * 2000
    server.post(path, {"user": "mallory\r\nforged"})
    server.post("/v1/completions", {"prompt": "my secret", "max_tokens": 2, "user": "z\r\nforged"})
    until(lambda: len(own_lines(stream)) == 2)  # a line is written after its answer
    lines = own_lines(stream)
    assert "secret" not in stream.getvalue()
    assert "mallory" not in stream.getvalue()
    assert not any(line.startswith("forged") for line in stream.getvalue().splitlines())
    assert "\x1b" not in stream.getvalue()
    assert all(len(line) < 1000 for line in lines)
    if log_format == "json":
        fields = json.loads(lines[1])
        assert (fields["method"], fields["path"], fields["status"]) == ("POST", "/v1/completions", 200)
        assert (fields["prompt_tokens"], fields["completion_tokens"]) == (9, 2)


def test_a_fault_of_ours_is_logged_with_its_trace(server: Running, log: tuple[LogFormat, io.StringIO]) -> None:
    server.engine.failure = RuntimeError("broken")
    server.post("/v1/completions", {"prompt": "x"}, headers={"x-request-id": "abc"})
    until(lambda: "RuntimeError: broken" in log[1].getvalue())
    assert "abc" in log[1].getvalue()

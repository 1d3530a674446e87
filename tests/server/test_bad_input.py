"""Hostile and mistaken input: the right status, the field's name, nothing internal, and the server goes on."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from paceline.server.limits import Limits
from tests.server.fakes import NAME, Running, running
from tests.server.test_completions import expected

BIG = 2**63
NESTED: Any = "x"
for _ in range(70):
    NESTED = [NESTED]

COMPLETION: list[tuple[str, Any]] = [
    *[("n", value) for value in (0, -1, 17, 129, 10**6, BIG, "3", 1.5, True)],
    *[("best_of", value) for value in (2, 10**6, -1, BIG)],
    *[("prompt", value) for value in ("", [], [[]], [None], [-1], [257], [10**9], [BIG], [1, "a"], ["a", [1]], 5, {}, True)],
    *[("prompt", value) for value in ("x" * 5000, [1] * 5000, ["a"] * 129, None)],
    *[("max_tokens", value) for value in (0, -1, 2**31, BIG, 5000, "5", 1.5, [])],
    *[("min_tokens", value) for value in (-1, 5, BIG)],
    *[("temperature", value) for value in (-1, "x", 1e38, True, [])],
    *[("top_p", value) for value in (0, 2, -1, "x")],
    *[("top_k", value) for value in (-5, 2**31, 1.5)],
    *[("min_p", value) for value in (-0.1, 1.1)],
    *[(name, value) for name in ("presence_penalty", "frequency_penalty") for value in (1e9, -1e9)],
    *[("repetition_penalty", value) for value in (0, -1, 1e9)],
    *[("seed", value) for value in (2**64, BIG, -(2**64), 1.5)],
    *[("stop", value) for value in (["x"] * 10_000, "x" * 10**6, "", [""], [1], 7)],
    *[("bad_words", value) for value in (["x"] * 1000, [""], "x", [1])],
    *[("logit_bias", value) for value in ({"257": 1}, {"-1": 1}, {"a": 1}, {"1": 1e308}, {"1": 101}, [1], {"1": "x"})],
    ("logit_bias", {str(i): 1 for i in range(100_000)}),
    *[("stop_token_ids", value) for value in ([257], [-1], ["a"], [0] * 2000)],
    *[("logprobs", value) for value in (21, -1, 2**31, True, "x")],
    *[("prompt_logprobs", value) for value in (21, -1)],
    *[("guided_regex", value) for value in ("", "a" * 70_000, 5)],
    *[("guided_choice", value) for value in ([], [""], ["x"] * 5000, "x")],
    *[("guided_json", value) for value in (5, "{", NESTED, {"enum": list(range(5000))}, {"a": "x" * 70_000})],
    ("guided_json", {"$ref": "http://169.254.169.254/schema"}),
    *[("structured_outputs", value) for value in ({}, {"json": {}, "regex": "a"}, {"grammar": "x"}, 5)],
    *[("timeout", value) for value in (0, -1, 1e9, "x")],
    *[("suffix", "x"), ("use_beam_search", True), ("prompt_embeds", "AAAA"), ("allowed_token_ids", [1])],
    *[("truncate_prompt_tokens", 1), ("chat_template", "{{ 1 }}"), ("skip_special_tokens", False)],
    *[("stream", "yes"), ("stream_options", {"include_usage": True}), ("stream_options", 5)],
    *[("echo", 5), ("ignore_eos", 1), ("user", 5), ("model", 5)],
    *[("speculation", value) for value in ("off", 0, 1, "false", {}, [])],
]  # fmt: skip

CHAT: list[tuple[str, Any]] = [
    *[("messages", value) for value in ([], None, "x", [None], [5], [{"content": "x"}], [{"role": "user", "content": 5}])],
    *[("messages", [{"role": "user", "content": "x"}] * 5000), ("messages", [{"role": "user", "content": "x" * 9000}])],
    *[("top_logprobs", value) for value in (21, -1, 2**31)],
    *[("tools", value) for value in (5, [5], [{}], [{"type": "x", "function": {"name": "f"}}], NESTED)],
    ("tools", [{"type": "function", "function": {"name": "f", "parameters": 5}}]),
    ("tools", [{"type": "function", "function": {"name": "f"}}] * 200),
    *[("tool_choice", value) for value in ("required", "auto!", {"type": "function", "function": {"name": "g"}})],
    *[("response_format.type", {"type": "xml"}), ("response_format", 5), ("response_format.type", {})],
    ("response_format.json_schema.schema", {"type": "json_schema", "json_schema": {"name": "x"}}),
    *[("chat_template_kwargs", value) for value in (5, NESTED, {"messages": []})],
    *[("echo", True), ("functions", [{}]), ("audio", {}), ("modalities", ["audio"]), ("documents", [{}])],
    *[("max_completion_tokens", value) for value in (0, -1, 5000)],
    *[("speculation", value) for value in ("no", 3)],
]  # fmt: skip


def assert_error(response: Any, status: int, param: str | None = None) -> None:
    assert response.status_code == status, response.text[:300]
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    if param is not None:
        assert (error["param"] or "").startswith(param), error
    assert not re.search(r"0x[0-9a-f]{6,}|/(?:work|opt|usr|home|root|tmp|secret)/|Traceback|File \"", response.text)
    assert len(response.content) < 2000


@pytest.mark.parametrize(("field", "value"), COMPLETION, ids=lambda value: repr(value)[:30])
def test_a_bad_field_of_a_completion_is_named(shared: Running, field: str, value: Any) -> None:
    body = {"model": NAME, "prompt": "x", "max_tokens": 4, field: value}
    assert_error(shared.post("/v1/completions", body), 400, field)


@pytest.mark.parametrize(("field", "value"), CHAT, ids=lambda value: repr(value)[:30])
def test_a_bad_field_of_a_conversation_is_named(shared: Running, field: str, value: Any) -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "logprobs": True, field.split(".")[0]: value}
    param = "max_tokens" if field == "max_completion_tokens" else field
    assert_error(shared.post("/v1/chat/completions", body), 400, param)


RAW = [
    b"", b"{", b"[]", b"null", b"5", b'"x"', b"{} x", b'{"prompt":"x",}', b"\xef\xbb\xbf{}", b'{"prompt":"\xff"}',
    '{"prompt":"x"}'.encode("utf-16"), b'{"prompt":"\\ud800"}', b'{"prompt":"\\udc00x"}', b'{"prompt":"x","temperature":NaN}',
    b'{"prompt":"x","temperature":1e400}', b'{"prompt":"x","temperature":Infinity}', b'{"prompt":"x","n":1e400}',
    b'{"prompt":"x","seed":' + b"9" * 5000 + b"}", b'{"prompt":"x","zzz":' + b"9" * 5000 + b"}",
    b'{"prompt":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b'{"zzz":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"zzz":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}", b'{"prompt":"x","prompt":"y"}',
    b'{"prompt":"x","logit_bias":{"1":1,"1":2}}', b'{"prompt":"a\x00"}',
]  # fmt: skip


@pytest.mark.parametrize("raw", RAW, ids=lambda raw: repr(raw[:24]))
def test_what_is_not_strict_json_is_refused(shared: Running, raw: bytes) -> None:
    assert_error(shared.post("/v1/completions", raw), 400)


def test_text_that_looks_special_is_text(shared: Running) -> None:
    for text in ("<|im_end|>", "\x00", "\u2028", "<|endoftext|>" * 100, "'; DROP TABLE x; --"):
        assert shared.post("/v1/completions", {"prompt": text, "max_tokens": 1}).status_code == 200


def test_another_model_is_not_found_and_not_repeated(shared: Running) -> None:
    for name in ("../../etc/passwd", "gpt-4", "x" * 4096, "%2e%2e", "a\x00b"):
        response = shared.post("/v1/completions", {"model": name, "prompt": "x"})
        assert_error(response, 404, "model")
        assert "passwd" not in response.text


def test_bodies_must_be_plain_json(shared: Running) -> None:
    body = b'{"prompt":"x"}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "", "application/json; charset=utf-16"):
        assert_error(shared.post("/v1/completions", body, headers={"content-type": kind}), 415)
    assert_error(shared.post("/v1/completions", body, headers={"content-encoding": "gzip"}), 415)
    good = shared.post("/v1/completions", body, headers={"content-type": "Application/JSON; charset=utf-8"})
    assert good.status_code == 200


@pytest.mark.parametrize("times", [1.5, 3.9])
def test_a_body_that_is_too_large_is_told_so(times: float) -> None:
    with running(limits=Limits(body_bytes=100_000)) as server:
        size = int(100_000 * times)
        assert_error(server.post("/v1/completions", b'{"prompt":"' + b"x" * size + b'"}'), 413)
        assert server.post("/v1/completions", {"prompt": "x"}).status_code == 200


def test_prompts_times_samples_are_bounded(shared: Running) -> None:
    assert_error(shared.post("/v1/completions", {"prompt": ["a"] * 20, "n": 10}), 400, "n")


def test_unknown_paths_and_methods_have_their_own_answers(shared: Running) -> None:
    assert_error(shared.get("/v2/completions"), 404)
    response = shared.get("/v1/completions")
    assert_error(response, 405)
    assert response.headers["allow"] == "POST"


def test_a_range_costs_nothing(shared: Running) -> None:
    ranges = "bytes=" + ",".join(f"{i}-{i}" for i in range(3000))
    assert shared.get("/v1/models", headers={"range": ranges}).status_code == 200


def test_bad_requests_leave_a_running_stream_alone(server: Running) -> None:
    server.engine.step_s = 0.005
    with server.stream("/v1/completions", {"prompt": "steady", "max_tokens": 60, "stream": True}) as response:
        lines = response.iter_lines()
        first = next(lines)
        for raw in RAW[:12]:
            assert_error(server.post("/v1/completions", raw), 400)
        for field, value in COMPLETION[:20]:
            assert_error(server.post("/v1/completions", {"prompt": "x", field: value}), 400)
        data = [line.removeprefix("data: ") for line in (first, *lines) if line]
    assert data.pop() == "[DONE]"
    assert "".join(json.loads(event)["choices"][0]["text"] for event in data) == expected("steady", 60)

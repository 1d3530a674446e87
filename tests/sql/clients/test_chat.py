"""What servers say, and what is made of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paceline.sql.clients.chat import Dialect, Meaning, error_text, match_choice, read, retry_after_s
from paceline.sql.model import Ask

ASK = Ask("be brief", "hello", 8)


@pytest.mark.parametrize(
    ("status", "headers", "meaning"),
    [
        (400, {}, Meaning.UNFIT),
        (401, {}, Meaning.HOPELESS),
        (402, {}, Meaning.HOPELESS),
        (403, {}, Meaning.HOPELESS),
        (404, {}, Meaning.HOPELESS),
        (301, {}, Meaning.HOPELESS),
        (408, {}, Meaning.BUSY),
        (422, {}, Meaning.UNFIT),
        (429, {}, Meaning.BUSY),
        (429, {"retry-after": "5"}, Meaning.BUSY),
        (429, {"retry-after": "86400"}, Meaning.HOPELESS),
        (500, {}, Meaning.FAILED),
        (502, {}, Meaning.FAILED),
        (503, {"retry-after": "1"}, Meaning.BUSY),
    ],
)
def test_status(status: int, headers: dict[str, str], meaning: Meaning) -> None:
    assert read(status, headers, b"{}", ASK).meaning is meaning


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:10 GMT"}, 0.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, 60.0) == seconds


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": {"message": "no", "param": "n", "code": 3}}', "no n 3"),
        (b'{"error": "boom"}', "boom"),
        (b'{"detail": [{"msg": "x"}]}', "[{'msg': 'x'}]"),
        (b'{"object": "error", "message": "old vLLM", "code": 400}', "old vLLM 400"),
        (b"<h1>Bad\n gateway</h1>", "<h1>Bad gateway</h1>"),
        (b"\xff", "\ufffd"),
        (b"", "nothing"),
        (b"[]", "[]"),
    ],
)
def test_error_text(body: bytes, text: str) -> None:
    assert error_text(body) == text


def test_error_text_is_short_and_plain() -> None:
    assert len(error_text(b"x" * 10_000)) < 400
    assert error_text(b"\x1b[31mred") == "\ufffd[31mred"


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("yes", "yes"),
        ("Yes.", "yes"),
        ('"no"', "no"),
        ('{"answer": "no"}', "no"),
        ("```yes```", "yes"),
        ("yes, it is", None),
        ('{"answer": 1}', None),
        ("[]", None),
        ("1", None),
        ("", None),
    ],
)
def test_match_choice(text: str, choice: str | None) -> None:
    assert match_choice(text, ("yes", "no")) == choice


def test_match_choice_does_not_guess_between_two() -> None:
    assert match_choice("YES", ("yes", "Yes")) is None
    assert match_choice("1", ("1", "2")) == "1"


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}, (9, 4, 2)),
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": None}, (9, 0, 2)),
        ({"prompt_tokens": "many"}, (0, 0, 0)),
        (None, (0, 0, 0)),
    ],
)
def test_usage(usage: Any, counts: tuple[int, int, int]) -> None:
    body = {"choices": [{"message": {"content": "hi"}}], "usage": usage}
    assert read(200, {}, json.dumps(body).encode(), ASK)[1:5] == ("hi", *counts)


def test_the_body_of_a_request() -> None:
    body = Dialect().body("m", ASK)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("m", 8, 0)
    assert "structured_outputs" not in body
    assert len(Dialect().body("m", ASK._replace(system=""))["messages"]) == 1


def test_dialects_end() -> None:
    dialect: Dialect | None = Dialect()
    seen = []
    while dialect is not None:
        seen.append(dialect.constraint)
        dialect = dialect.after("structured_outputs, response_format: extra fields are not permitted")
    assert seen == ["structured_outputs", "response_format", "none"]
    assert Dialect().after("the schema of response_format is invalid") is None

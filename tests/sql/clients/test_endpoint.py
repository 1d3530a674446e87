"""A real client against a server that misbehaves in every way that servers do."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from benchmarks.relational import mock_model
from benchmarks.relational.mock_server import Faults, MockServer
from paceline.errors import ConfigError
from paceline.sql.clients.endpoint import MAX_DRAWN, EndpointModel
from paceline.sql.clients.exchange import MAX_BODY_BYTES
from paceline.sql.clients.pacing import PacingOptions
from paceline.sql.model import Answer, Ask

FAST = PacingOptions(backoff_s=0.01, max_backoff_s=0.1, max_window=16)
QUESTION = "Is it good?"


def asks(num: int, group: int = 10, choices: tuple[str, ...] = ()) -> list[Ask]:
    """Rows in the order of a plan: ``group`` rows begin alike, for 400 characters."""
    made: list[Ask] = []
    for number in range(num):
        user = f"{QUESTION}\n" + json.dumps({"about": f"{number // group:04} " * 80, "row": number})
        shared = len(QUESTION) + 12 if number % group == 0 else 412
        made.append(Ask("", user, 8, choices, shared=shared if number else 0))
    return made


def expected(ask: Ask) -> str:
    return mock_model.answer(ask.system, ask.user, ask.choices)


def connect(server: MockServer, **options: Any) -> EndpointModel:
    return EndpointModel(server.url, "mock", **{"pacing": FAST, "seed": 1, "timeout_s": 20.0, **options})


def gather(model: EndpointModel, requests: list[Ask], also: Callable[[int], None] | None = None) -> list[Answer]:
    answers: dict[int, Answer] = {}

    def done(number: int, answer: Answer) -> None:
        assert number not in answers, "answered twice"
        answers[number] = answer
        if also is not None:
            also(len(answers))

    try:
        model.ask(requests, done)
    finally:
        model.close()
    return [answers[number] for number in range(len(requests))]  # KeyError: one is lost


@pytest.fixture
def server() -> Iterator[MockServer]:
    with MockServer() as server:
        yield server


def test_every_row_gets_its_own_answer(server: MockServer) -> None:
    requests = asks(400, choices=("yes", "no"))
    answers = gather(connect(server), requests)
    assert [answer.text for answer in answers] == [expected(ask) for ask in requests]
    assert {(answer.error, answer.attempts) for answer in answers} == {(None, 1)}
    assert server.counts.paid == 400
    assert sum(answer.cached_tokens for answer in answers) == server.counts.cached_tokens
    assert sum(answer.prompt_tokens for answer in answers) == server.counts.prompt_tokens
    assert sum(answer.output_tokens for answer in answers) == server.counts.output_tokens
    assert server.counts.most_at_once <= FAST.max_window


def test_leaders_go_first(server: MockServer) -> None:
    requests = asks(200)
    answers = gather(connect(server), requests)
    blocks = mock_model.BLOCK_TOKENS
    shared = len(mock_model.tokenize(requests[0].user[:400])) // blocks * blocks - blocks
    followers = [answer for number, answer in enumerate(answers) if number % 10]
    assert all(answer.cached_tokens >= shared for answer in followers)


FAULTS = Faults(busy=0.10, reset=0.05, hang=0.02, seed=3)


@pytest.mark.gate
@pytest.mark.parametrize("killed", [False, True], ids=["faults", "faults and a crash"])
def test_nothing_is_lost_and_little_is_paid_twice(killed: bool) -> None:
    requests = asks(600, choices=tuple(f"label {i}" for i in range(50)))
    with MockServer(faults=FAULTS) as server:
        back = threading.Timer(0.3, server.start)  # as long as the outage lasts

        def crash(num_done: int) -> None:
            if killed and num_done == len(requests) // 2:
                server.kill()
                back.start()

        answers = gather(connect(server, timeout_s=1.0), requests, crash)
        back.join() if killed else None
    assert [answer.text for answer in answers] == [expected(ask) for ask in requests]
    assert server.counts.busy > 30
    assert server.counts.resets > 10
    assert server.counts.hangs > 3
    assert server.counts.paid <= 1.10 * len(requests)


def test_replicas_share_the_work_and_one_may_be_down(server: MockServer) -> None:
    requests = asks(300)
    with MockServer() as second, MockServer() as dead:
        dead.kill()
        model = EndpointModel([server.url, dead.url, second.url], "mock", pacing=FAST, seed=1)
        answers = gather(model, requests)
        assert [answer.text for answer in answers] == [expected(ask) for ask in requests]
        assert server.counts.paid + second.counts.paid == 300
        assert min(server.counts.paid, second.counts.paid) > 60


def test_groups_stay_together_on_replicas(server: MockServer) -> None:
    with MockServer() as second:
        answers = gather(EndpointModel([server.url, second.url], "mock", pacing=FAST, seed=1), asks(400, group=20))
    alone = 1 - 20 / 400
    assert sum(a.cached_tokens for a in answers) / sum(a.prompt_tokens for a in answers) > 0.8 * alone


# ── what concerns everybody ──────────────────────────────────────────────────────────────────────────────────────────


def test_no_server_is_said_soon() -> None:
    with MockServer() as server:
        server.kill()
        with pytest.raises(ConfigError, match=rf"no answer from http://127.0.0.1:{server.port}.*no connection"):
            gather(connect(server, patience_s=0.1), asks(5))


def test_a_server_that_stays_away_ends_the_call_and_keeps_what_was_answered(server: MockServer) -> None:
    answered: list[int] = []

    def crash(num_done: int) -> None:
        answered.append(num_done)
        if num_done == 50:
            server.kill()

    with pytest.raises(ConfigError, match="no answer from"):
        gather(connect(server, patience_s=0.2), asks(200), crash)
    assert len(answered) >= 50


def test_a_wrong_key_ends_the_call_and_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with MockServer(api_key="right") as server:
        model = connect(server, api_key="sk-secret-7")
        assert "sk-secret-7" not in repr(vars(model))
        with pytest.raises(ConfigError, match=r"401.*wrong key") as raised:
            gather(model, asks(20))
    assert "sk-secret-7" not in str(raised.value) + caplog.text


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    with MockServer(api_key="right") as server:
        assert gather(connect(server), asks(2))[1].error is None


def test_an_unknown_model_ends_the_call(server: MockServer) -> None:
    with pytest.raises(ConfigError, match=r"404.*'nameless' does not exist"):
        gather(EndpointModel(server.url, "nameless", pacing=FAST), asks(20))


def test_a_redirect_is_not_followed() -> None:
    with MockServer(respond=lambda _: (307, {})) as server, pytest.raises(ConfigError, match="307"):
        gather(connect(server, api_key="k"), asks(2))


def test_no_quota_ends_the_call() -> None:
    error = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    with MockServer(respond=lambda _: (429, error)) as server, pytest.raises(ConfigError, match="quota"):
        gather(connect(server), asks(2))


# ── what concerns one row ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_prompt_over_the_context_limit_fails_alone() -> None:
    with MockServer(max_model_len=500) as server:
        requests = asks(20)
        requests[7] = requests[7]._replace(user="long " * 1000)
        answers = gather(connect(server), requests)
    assert [number for number, answer in enumerate(answers) if answer.error] == [7]
    assert "context length" in (answers[7].error or "")
    assert answers[7].attempts == 1


def completion(content: Any, finish: str = "stop", **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content, **message}, "finish_reason": finish}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 2}}  # fmt: skip


@pytest.mark.parametrize(
    ("response", "words", "attempts"),
    [
        ((200, b"<html>not JSON</html>"), "not a chat completion", 2),
        ((200, b"[" * 100_000), "not a chat completion", 2),
        ((200, b"\xff\xfe"), "not a chat completion", 2),
        ((200, {"choices": []}), "not a chat completion", 2),
        ((200, completion(None)), "empty", 2),
        ((200, completion(" \n")), "empty", 2),
        ((200, completion("maybe")), "not one of the choices: 'maybe'", 2),
        ((200, completion("ye", "length")), "cut at max_tokens = 8", 1),
        ((200, completion(None, refusal="I can't help")), "I can't help", 1),
        ((200, completion("", "content_filter")), "content filter", 1),
        ((400, {"error": {"message": "bad \x07row"}}), "400: bad \ufffdrow", 1),
        ((413, {"detail": "body too large"}), "413: body too large", 1),
        ((500, {"error": "boom"}), "500: boom, 3 times", 3),
        ((200, b"x" * (MAX_BODY_BYTES + 1)), "longer than", 2),
    ],
)
def test_a_bad_answer_is_an_error_of_its_row(response: tuple[int, Any], words: str, attempts: int) -> None:
    def respond(asked: dict[str, Any]) -> tuple[int, Any] | None:
        return response if '"row": 1}' in asked["messages"][0]["content"] else None

    with MockServer(respond=respond) as server:
        answers = gather(connect(server, max_attempts=3), asks(4, choices=("yes", "no")))
    assert [answer.error is None for answer in answers] == [True, False, True, True]
    assert words in (answers[1].error or "")
    assert answers[1].attempts == attempts


def test_a_malformed_answer_is_asked_for_once_more() -> None:
    first = iter([(200, completion("perhaps"))])
    with MockServer(respond=lambda _: next(first, None)) as server:
        [answer] = gather(connect(server), asks(1, choices=("yes", "no")))
    assert (answer.error, answer.attempts) == (None, 2)
    assert answer.prompt_tokens == server.counts.prompt_tokens + 10  # the useless one is paid for too


def test_a_row_that_always_hangs_is_given_up() -> None:
    with MockServer(faults=Faults(hang=1.0)) as server:
        [answer] = gather(connect(server, timeout_s=0.05, max_attempts=3), asks(1))
    assert "no answer within 0.05 s, 3 times" in (answer.error or "")
    assert answer.attempts == 3


def test_a_schema_that_is_not_json_is_an_error_of_its_rows(server: MockServer) -> None:
    requests = [asks(1)[0]._replace(schema="{"), *asks(1)]
    answers = gather(connect(server), requests)
    assert "not valid JSON" in (answers[0].error or "")
    assert answers[1].error is None


# ── constraints ──────────────────────────────────────────────────────────────────────────────────────────────────────


def strict(*known: str) -> Callable[[dict[str, Any]], tuple[int, Any] | None]:
    """A server that refuses fields it does not know, as OpenAI's does."""

    def respond(asked: dict[str, Any]) -> tuple[int, Any] | None:
        for name in asked:
            if name not in ("model", "messages", *known):
                hint = "; use 'max_completion_tokens' instead" if name == "max_tokens" else ""
                message = f"Unsupported parameter: {name!r} is not supported with this model{hint}."
                return 400, {"error": {"message": message, "param": name, "code": "unsupported_parameter"}}
        if "response_format" in asked:
            return 200, completion('{"answer": "no"}')
        return 200, completion("No.")

    return respond


@pytest.mark.parametrize(
    "known", [("response_format", "max_completion_tokens"), ("max_tokens", "temperature")], ids=["schemas", "nothing"]
)
def test_servers_are_asked_in_the_words_they_know(known: tuple[str, ...]) -> None:
    with MockServer(respond=strict(*known)) as server:
        model = connect(server)
        answers = gather(model, asks(30, choices=("yes", "no")))
        assert {answer.text for answer in answers} == {"no"}
        num_requests = server.counts.requests
        gather(model, asks(5, choices=("yes", "no")))
        assert server.counts.requests == num_requests + 5  # what was learned is kept


def test_json_answers_are_json(server: MockServer) -> None:
    schema = json.dumps({"type": "object", "properties": {"stars": {"type": "integer"}}})
    [answer] = gather(connect(server), [asks(1)[0]._replace(schema=schema)])
    assert set(json.loads(answer.text or "")) == {"stars"}


# ── the caller ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_done_raises_cancels_everything(server: MockServer) -> None:
    def stop(num_done: int) -> None:
        if num_done == 5:
            raise KeyboardInterrupt

    model = connect(server)
    with pytest.raises(KeyboardInterrupt):
        gather(model, asks(300), stop)
    assert server.counts.requests < 60
    assert [answer.error for answer in gather(model, asks(10))] == [None] * 10


def test_requests_are_drawn_as_there_is_room(server: MockServer) -> None:
    num_drawn = num_done = most = 0

    def source() -> Iterator[Ask]:
        nonlocal num_drawn
        for ask in asks(2 * MAX_DRAWN):
            num_drawn += 1
            yield ask

    def done(number: int, answer: Answer) -> None:
        nonlocal num_done, most
        most = max(most, num_drawn - num_done)
        num_done += 1
        assert threading.current_thread() is threading.main_thread()

    model = connect(server)
    model.ask(source(), done)
    model.close()
    assert num_done == 2 * MAX_DRAWN
    assert most <= MAX_DRAWN


def test_what_the_source_raises_comes_through(server: MockServer) -> None:
    def source() -> Iterator[Ask]:
        yield from asks(3)
        raise LookupError

    model = connect(server)
    with pytest.raises(LookupError):
        model.ask(source(), lambda number, answer: None)
    model.close()
    model.close()


def test_no_requests_need_no_server() -> None:
    model = EndpointModel("http://127.0.0.1:9", "mock")
    model.ask([], lambda number, answer: None)
    model.close()


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("ftp://host", {}, "http"),
        ("host:80", {}, "http"),
        ("http://", {}, "host"),
        ("http://me:secret@host", {}, "api_key"),
        ([], {}, "at least one"),
        ("http://host", {"model": ""}, "name of a model"),
        ("http://host", {"timeout_s": 0}, "timeout_s must be > 0, got 0"),
        ("http://host", {"max_attempts": -1}, "max_attempts"),
        ("http://host", {"api_key": "a\nb"}, "key"),
    ],
)
def test_wrong_options_are_named(url: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        EndpointModel(url, **{"model": "m", **options})


def test_an_estimate_of_tokens() -> None:
    model = EndpointModel("http://host", "m")
    assert [model.num_tokens(text) for text in ("", "a", "four", "fives")] == [0, 1, 1, 2]


def test_a_client_in_another_process_is_the_same_with_its_part_of_the_window() -> None:
    pacing = PacingOptions(max_window=10, first_window=3, backoff_s=0.25)
    with MockServer(api_key="sk-secret") as server:
        model = EndpointModel(server.url, "mock", api_key="sk-secret", timeout_s=7.0, max_attempts=3, pacing=pacing)
        spec = model.spec(4)
        assert "sk-secret" not in repr(spec)
        arguments = json.loads(json.dumps(spec.arguments))
        assert arguments["pacing"]["max_window"] == 2
        assert arguments["pacing"]["first_window"] == 1
        other = EndpointModel(**arguments, **spec.secrets)
        assert other.spec(1).arguments == arguments
        assert [answer.text for answer in gather(other, asks(3))] == [expected(ask) for ask in asks(3)]


def test_another_process_takes_no_key_from_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = EndpointModel("http://127.0.0.1:1", "mock", api_key="").spec(1)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another")
    assert EndpointModel(**spec.arguments, **spec.secrets).spec(1).secrets == {"api_key": ""}

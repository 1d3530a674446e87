"""What a task does, in this process: no Spark is needed to answer a batch."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from benchmarks.relational.mock_server import MockServer
from paceline.sql.engines.spark_task import Task, answers_by_number, requests_table
from paceline.sql.model import MODELS, Answer, Ask
from paceline.sql.spread import ModelSpec
from paceline.sql.store import AnswerStore
from tests.sql.clients.test_endpoint import asks, expected
from tests.sql.fakes import Model

ASKS = asks(100)
FAKE = ModelSpec("fake for tasks", {})


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    """What ``FAKE`` opens."""
    made = Model()
    monkeypatch.setitem(MODELS._items, FAKE.kind, lambda: made)
    return made


@pytest.fixture
def store(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "answers.sqlite"
    AnswerStore(path).close()
    return {"path": str(path)}


def run(task: Task, requests: list[Ask]) -> tuple[dict[int, Answer], list[tuple[str, str]]]:
    """What the task answers; requests are numbered from 1000."""
    numbered = ((0, 1000 + number, f"k{number}", ask) for number, ask in enumerate(requests))
    [batch] = task.answer(requests_table(numbered).to_batches())
    return answers_by_number(batch)


def test_answers_come_by_number() -> None:
    with MockServer(api_key="sk-secret") as server:
        spec = ModelSpec("endpoint", {"url": server.url, "model": "mock"}, {"api_key": "sk-secret"})
        answers, stopped = run(Task(spec, None, ""), ASKS)
    assert not stopped
    assert {number - 1000: answer.text for number, answer in answers.items()} == {
        number: expected(ask) for number, ask in enumerate(ASKS)
    }


def test_a_second_attempt_asks_only_what_is_not_in_the_store(model: Model, store: dict[str, Any]) -> None:
    task = Task(FAKE, store, socket.gethostname())
    with AnswerStore(**store) as kept:
        kept.put_many([(f"k{number}", Answer("kept")) for number in (0, 1, 2, 50, 51, 99)])
    answers, _ = run(task, ASKS)
    assert sorted(answers) == list(range(1000, 1100))
    assert [answers[number].text for number in (1000, 1050, 1099)] == ["kept"] * 3
    assert model.asked == [ask.user for number, ask in enumerate(ASKS) if number not in (0, 1, 2, 50, 51, 99)]
    run(task, ASKS)
    assert len(model.asked) == 94


def test_a_store_of_another_machine_is_left_alone(model: Model, store: dict[str, Any]) -> None:
    run(Task(FAKE, store, "another"), ASKS)
    run(Task(FAKE, {"path": store["path"] + ".gone"}, socket.gethostname()), ASKS)
    assert len(model.asked) == 200
    assert not Path(store["path"] + ".gone").exists()


def test_errors_are_answers_and_are_not_kept(model: Model, store: dict[str, Any]) -> None:
    task = Task(FAKE, store, socket.gethostname())
    for _ in range(2):
        answers, stopped = run(task, [Ask("", "Good?\n{}", 4), Ask("", "Good?\nbroken", 4, shared=6)])
        assert answers[1001] == Answer(None, "the row is broken", 2)
        assert not stopped
    assert [text.partition("\n")[2] for text in model.asked] == ["{}", "broken", "broken"]


def test_what_concerns_every_request_ends_the_task_with_what_was_answered() -> None:
    with MockServer(api_key="sk-secret") as server:
        spec = ModelSpec("endpoint", {"url": server.url, "model": "mock"}, {"api_key": "sk-wrong"})
        answers, [(kind, text)] = run(Task(spec, None, ""), ASKS)
    assert answers == {}
    assert kind == "ConfigError"
    assert "sk-wrong" not in text


def test_no_requests_no_answers(model: Model) -> None:
    [batch] = Task(FAKE, None, "").answer([])
    assert batch.num_rows == 0

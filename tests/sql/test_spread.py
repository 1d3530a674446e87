from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from paceline.sql import spread
from paceline.sql.asker import Asker, Memory, Store
from paceline.sql.model import Answer, Ask
from paceline.sql.spread import MIN_SPREAD, ModelSpec, Portable, Request, Spreading, subtree_ranks, waves
from paceline.sql.store import AnswerStore
from tests.sql.fakes import Model


class PortableModel(Model):
    def spec(self, num_clients: int) -> ModelSpec:
        return ModelSpec("fake", {})


class Machines:
    """Answers everything at once, the last first."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.store: dict[str, Any] | None = None

    def spread(
        self,
        model: Portable,
        requests: Iterable[Request],
        done: Callable[[int, Answer], None],
        store: dict[str, Any] | None,
    ) -> None:
        self.requests, self.store = list(requests), store
        for number in reversed(range(len(self.requests))):
            done(number, Answer(f"answer {number}"))


def send(model: Model, num_requests: int, store: Store, engine: Spreading | None) -> dict[int, Answer]:
    asker = Asker(lambda name: model, store, spreading=engine)
    asks = [Ask("", f"text {number}", 4) for number in range(num_requests)]
    answers: dict[int, Answer] = {}
    asker.send(model, asks, [f"k{number}" for number in range(num_requests)], answers.__setitem__)
    return answers


def request(number: int, num_chars: int = 10) -> Request:
    return Request(f"k{number}", Ask("", "x" * num_chars, 4))


def test_waves_hold_all_requests_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "MAX_WAVE_REQUESTS", 3)
    requests = [request(number) for number in range(14)]
    found = list(waves(requests, 2))
    assert [len(wave) for wave in found] == [6, 6, 2]
    assert [one for wave in found for one in wave] == requests


def test_long_requests_make_short_waves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "MAX_WAVE_CHARS", 100)
    assert [len(wave) for wave in waves([request(n, 90) for n in range(5)], 2)] == [3, 2]


def test_no_requests_no_wave() -> None:
    assert list(waves([], 2)) == []
    assert subtree_ranks([], 2) == []


@pytest.mark.parametrize("max_requests", [1, 4, 16, 100])
def test_ranks_number_subtrees(max_requests: int) -> None:
    draw = random.Random(max_requests)
    shared = [0, *(draw.choice([1, 1, 20, 20, 20, 300, 300, 300, 300]) for _ in range(499))]
    ranks = subtree_ranks(shared, max_requests)
    begins = [place for place, rank in enumerate(ranks) if place == 0 or rank != ranks[place - 1]]
    assert [ranks[place] for place in begins] == list(range(len(begins)))
    for begin, end in zip(begins, [*begins[1:], len(shared)], strict=True):
        outside = max(shared[begin], shared[end] if end < len(shared) else 0)
        assert end - begin <= max_requests
        assert all(one > outside for one in shared[begin + 1 : end]), "a subtree shares more inside than with others"


def test_a_spec_opens_the_model_and_shows_no_secret() -> None:
    spec = ModelSpec("endpoint", {"url": "http://127.0.0.1:1", "model": "m"}, {"api_key": "sk-secret"})
    assert "sk-secret" not in repr(spec)
    with closing(spec.open()) as model:
        assert model.name == "m"


def test_machines_send_what_is_worth_it(tmp_path: Path) -> None:
    engine, model = Machines(), PortableModel()
    with AnswerStore(tmp_path / "answers.sqlite") as store:
        answers = send(model, MIN_SPREAD, store, engine)
        assert {number: answer.text for number, answer in answers.items()} == {
            number: f"answer {number}" for number in range(MIN_SPREAD)
        }
        assert [(one.key, one.ask.user) for one in engine.requests[:2]] == [("k0", "text 0"), ("k1", "text 1")]
        assert engine.store == store.arguments
        assert store.get_many(["k7"])["k7"].text == "answer 7"
    assert not model.asked


def test_machines_get_no_store_that_is_in_memory() -> None:
    engine = Machines()
    send(PortableModel(), MIN_SPREAD, Memory(), engine)
    assert engine.requests
    assert engine.store is None


@pytest.mark.parametrize(
    ("model", "engine", "num_requests"),
    [
        (Model(), Machines(), MIN_SPREAD),
        (PortableModel(), None, MIN_SPREAD),
        (PortableModel(), Machines(), MIN_SPREAD - 1),
    ],
    ids=["a model of this process", "an engine of this process", "few requests"],
)
def test_everything_else_is_sent_from_here(model: Model, engine: Machines | None, num_requests: int) -> None:
    assert len(send(model, num_requests, Memory(), engine)) == num_requests
    assert len(model.asked) == num_requests
    assert engine is None or not engine.requests

from __future__ import annotations

import random
from contextlib import closing

import pytest

from paceline.sql import spread
from paceline.sql.model import Ask
from paceline.sql.spread import ModelSpec, Request, subtree_ranks, waves


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

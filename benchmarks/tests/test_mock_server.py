"""The mock model: answers that know their row, a cache that forgets the oldest, time that adds up."""

from __future__ import annotations

import json
import random

import httpx2
import pytest

from benchmarks.relational.mock_model import BlockCache, Device, Job, TimeModel, answer, block_hashes, tokenize
from benchmarks.relational.mock_server import MockServer


def test_answers_depend_on_fields_and_not_on_their_order() -> None:
    row = {"title": "A {film}", "text": "long", "year": 1999, "score": None}
    shuffled = list(row.items())
    random.Random(0).shuffle(shuffled)
    first = answer("", "Good?\n" + json.dumps(row))
    assert answer("", "Good?\n" + json.dumps(dict(shuffled))) == first
    assert answer("", json.dumps(row) + "\nGood?") == first
    assert answer("", "Bad?\n" + json.dumps(row)) != first
    assert answer("", "Good?\n" + json.dumps({**row, "year": 2000})) != first
    assert answer("", "Good?\n" + json.dumps({**row, "title": row["text"], "text": row["title"]})) != first


def test_answers_fit_a_schema() -> None:
    properties = {"a": {"type": "integer", "minimum": 3, "maximum": 5}, "b": {"enum": ["x", "y"]}}
    properties |= {"c": {"type": "array", "items": {"type": "boolean"}}, "d": {"type": "string"}}
    made = json.loads(answer("", "Q", schema={"type": "object", "properties": properties}))
    assert 3 <= made["a"] <= 5
    assert made["b"] in ("x", "y")
    assert all(isinstance(item, bool) for item in made["c"])
    assert isinstance(made["d"], str)


def test_the_cache_forgets_what_was_not_used_for_longest() -> None:
    one, two, three = ([(name, i) for i in range(2)] for name in "abc")
    cache = BlockCache(num_tokens=4 * 16)
    for hashes in (one, two):
        cache.publish([hash(block) for block in hashes])
    assert cache.find([hash(block) for block in one]) == 2
    cache.publish([hash(block) for block in three])
    assert [cache.find([hash(block) for block in hashes]) for hashes in (one, two, three)] == [2, 0, 2]


def test_two_requests_of_one_step_compute_their_beginning_twice() -> None:
    device = Device(TimeModel(), cache_tokens=10_000)
    hashes = block_hashes(["a"] * 64)
    jobs = [Job(hashes, 65, 2) for _ in range(3)]
    device.submit(jobs[0])
    device.submit(jobs[1])
    _, seconds = device.step()
    assert seconds == pytest.approx(0.008 + 130 * 0.0002)
    device.submit(jobs[2])
    ended, seconds = device.step()
    assert ended == jobs[:2]
    assert seconds == pytest.approx(0.008 + 1 * 0.0002 + 2 * 0.0002)
    assert [job.num_cached for job in jobs] == [0, 0, 64]
    assert device.step()[0] == [jobs[2]]
    assert device.idle


def test_long_prompts_are_computed_in_chunks() -> None:
    device = Device(TimeModel(max_batched_tokens=100), cache_tokens=10_000)
    device.submit(Job(block_hashes(["a"] * 250), 250, 1))
    assert [len(device.step()[0]) for _ in range(3)] == [0, 0, 1]


def test_usage_and_counts_over_http() -> None:
    prompt = "word " * 100
    body = {"model": "mock", "messages": [{"role": "user", "content": prompt}], "max_tokens": 5}
    with MockServer() as server, httpx2.Client(base_url=server.url) as client:
        usages = [client.post("/v1/chat/completions", json=body).json()["usage"] for _ in range(2)]
        stats = client.get("/stats").json()
        assert client.get("/nothing").status_code == 404
    assert [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages] == [0, 96]
    assert usages[0]["prompt_tokens"] == len(tokenize(f"user {prompt}\nassistant"))
    assert (stats["paid"], stats["cached_tokens"]) == (2, 96)

"""The whole server with its engine process under bad clients: every request is accounted for, nothing is left behind."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

ENVIRONMENT = {**os.environ, "PYTHONPATH": "src"}
GREEDY = {"temperature": 0, "ignore_eos": True}
PROMPTS = ["def add(a, b):\n", "import os\n", "class Stack:\n    def push", "for key, value in", "what is this?", "#"]
MALFORMED = [
    b"{",
    b'{"prompt": 3}',
    b'{"prompt": "a", "n": 1000000}',
    b'{"prompt": "a", "temperature": NaN}',
    b'{"prompt": [99999999]}',
    b'{"prompt": "a", "guided_regex": "(a{1000}){1000}{1000}"}',
    b'{"prompt": "a", "guided_json": {"type": "nothing"}}',
    b'{"prompt": "a", "max_tokens": 1000000}',
]


class Served(NamedTuple):
    """A running ``paceline serve --demo``."""

    process: subprocess.Popen[str]
    port: int
    client: httpx2.Client

    @property
    def engine_pid(self) -> int:
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        [pid] = [int(child) for task in tasks for child in (task / "children").read_text().split()]
        return pid

    def ask(self, prompt: str, **fields: Any) -> dict[str, Any]:
        response = self.client.post("/v1/completions", json={**GREEDY, "prompt": prompt, **fields})
        assert response.status_code == 200, response.text
        return dict(response.json())

    def metrics(self) -> Counter[str]:
        """Every number of ``/metrics``, added up over the labels."""
        numbers: Counter[str] = Counter()
        for line in self.client.get("/metrics").text.splitlines():
            if found := re.fullmatch(r"paceline:(\w+)\{.*\} (\S+)", line):
                numbers[found[1]] += float(found[2])  # type: ignore[assignment]
        return numbers

    def is_idle(self) -> bool:
        numbers = self.metrics()
        names = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "leaked_blocks")
        return all(name in numbers and numbers[name] == 0 for name in names)


@contextlib.contextmanager
def serving(num_blocks: int) -> Iterator[Served]:
    command = [
        sys.executable, "-m", "paceline", "serve", "--demo", "--port", "0", "--json", "--threads", "1",
        "--num-blocks", str(num_blocks),
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT
    ) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"].removesuffix("/v1")
            limits = httpx2.Limits(max_connections=64)
            with httpx2.Client(base_url=url, timeout=60, limits=limits) as client:
                yield Served(process, int(url.rpartition(":")[2]), client)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """32 blocks: about a quarter of what 32 of the requests below need."""
    with serving(32) as server:
        yield server


@pytest.fixture(scope="module")
def small() -> Iterator[Served]:
    """8 blocks. The file's last test ends it."""
    with serving(8) as server:
        yield server


def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "did not come about in time"
        time.sleep(0.02)


def connect(server: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def raw(body: bytes) -> bytes:
    head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def hang_up(sock: socket.socket, *, reset: bool) -> None:
    if reset:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_events(sock: socket.socket, num_events: float) -> bytes:
    data = b""
    while data.count(b"data: ") < num_events and b"[DONE]" not in data:
        piece = sock.recv(4096)
        assert piece, data
        data += piece
    return data


# ── a load with a ledger ─────────────────────────────────────────────────────────────────────────


class Entry(NamedTuple):
    """What the client saw of one request."""

    fate: str  # finished, aborted or refused
    num_tokens: int = 0
    num_samples: int = 0


def finish(server: Served, alone: dict[str, str], prompt: str, stream: bool, n: int) -> Entry:
    """A good request: its answer is the one that it has alone."""
    body = {**GREEDY, "prompt": prompt, "max_tokens": 24, "n": n, "stream": stream}
    if not stream:
        answer = server.ask(**body)
        assert [choice["text"] for choice in answer["choices"]] == [alone[prompt]] * n
        return Entry("finished", answer["usage"]["completion_tokens"], n)
    texts = [""] * n
    usage = {}
    body["stream_options"] = {"include_usage": True}
    with server.client.stream("POST", "/v1/completions", json=body) as response:
        *events, done = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert done == "[DONE]"
    for event in map(json.loads, events):
        usage = event["usage"] or usage
        for choice in event["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == [alone[prompt]] * n
    return Entry("finished", usage["completion_tokens"], n)


def abort(server: Served, prompt: str, stream: bool, num_events: int) -> Entry:
    """Leaves long before the end, at any moment."""
    body = {**GREEDY, "prompt": prompt, "max_tokens": 300, "stream": stream, "n": 1 + num_events % 2}
    sock = connect(server)
    sock.sendall(raw(json.dumps(body).encode()))
    if stream:
        read_events(sock, num_events)
    else:
        time.sleep(num_events / 100)
    hang_up(sock, reset=num_events % 2 == 0)
    return Entry("aborted")


def refuse(server: Served, body: bytes) -> Entry:
    response = server.client.post("/v1/completions", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400, (body, response.text)
    return Entry("refused")


def load(server: Served, alone: dict[str, str], number: int) -> Entry:
    """Request ``number``: 20 % leave, 5 % are wrong, the others must be answered."""
    chance = random.Random(number)
    prompt, stream = chance.choice(PROMPTS), chance.random() < 0.5
    kind = chance.random()
    if kind < 0.2:
        return abort(server, prompt, stream, chance.randrange(1, 6))
    if kind < 0.25:
        return refuse(server, MALFORMED[number % len(MALFORMED)])
    return finish(server, alone, prompt, stream, chance.choice((1, 1, 1, 3)))


def test_a_load_of_good_and_bad_clients_adds_up(served: Served) -> None:
    num_requests = 240
    alone = {prompt: served.ask(prompt, max_tokens=24)["choices"][0]["text"] for prompt in PROMPTS}
    before = served.metrics()
    with ThreadPoolExecutor(32) as pool:
        ledger = list(pool.map(lambda number: load(served, alone, number), range(num_requests)))
    until(served.is_idle)
    fates = Counter(entry.fate for entry in ledger)
    counted = served.metrics()
    counted.subtract(before)
    assert fates["finished"] + fates["aborted"] + fates["refused"] == num_requests
    assert min(fates.values()) > 0
    assert counted["e2e_request_latency_seconds_count"] == fates["finished"]
    assert counted["request_success_total"] == sum(entry.num_samples for entry in ledger)
    assert counted["request_generation_tokens_sum"] == sum(entry.num_tokens for entry in ledger)
    assert counted["aborted_total"] == fates["aborted"]
    assert counted["rejected_total"] == fates["refused"]
    assert counted["engine_restarts_total"] == 0


def test_sixteen_requests_share_eight_blocks(small: Served) -> None:
    prompts = [f"def step_{number}(values, index):\n    result =" for number in range(16)]
    alone = [small.ask(prompt, max_tokens=56)["choices"] for prompt in prompts]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda prompt: small.ask(prompt, max_tokens=56)["choices"], prompts))
    assert together == alone
    assert small.metrics()["num_preemptions_total"] > 0
    too_long = small.client.post("/v1/completions", json={"prompt": "a", "max_tokens": 128})
    assert (too_long.status_code, too_long.json()["error"]["param"]) == (400, "max_tokens")
    until(small.is_idle)


# ── clients that leave ───────────────────────────────────────────────────────────────────────────

STAGES = ("connected", "head", "body", "queued", "prefill", "first token", "tokens", "done")


def leave(server: Served, stage: str, *, reset: bool, fields: dict[str, Any]) -> None:
    length = 20 if stage == "done" else 200
    asked = {**GREEDY, "prompt": "x = [" + "1, " * 80, "max_tokens": length, **fields}
    asked["speculation"] = False  # drafts of such a text are right, and it would be over before anybody can leave
    data = raw(json.dumps(asked).encode())
    sock = connect(server)
    cut = {"connected": 0, "head": 40, "body": len(data) - 20}.get(stage, len(data))
    sock.sendall(data[:cut])
    if stage == "prefill":
        time.sleep(0.03)
    elif fields["stream"] and stage in ("first token", "tokens", "done"):
        read_events(sock, {"first token": 1, "tokens": 7}.get(stage, float("inf")))
    hang_up(sock, reset=reset)


@pytest.mark.parametrize("stage", STAGES)
def test_whoever_leaves_gives_all_blocks_back(served: Served, stage: str) -> None:
    prompts = ["x = [" + "1, " * 80] * 2
    before = served.metrics()["aborted_total"]
    for reset, stream, more in itertools.product((False, True), (False, True), ({}, {"n": 3}, {"prompt": prompts})):
        leave(served, stage, reset=reset, fields={"stream": stream, **more})
    if stage not in ("connected", "head", "done"):
        until(lambda: served.metrics()["aborted_total"] == before + 12)
    until(served.is_idle)
    assert served.ask("x", max_tokens=4)["usage"]["completion_tokens"] == 4


def test_hostile_grammars_leave_good_ones_alone(served: Served) -> None:
    good = {"guided_regex": "[0-9]{3}-[a-f]{2}", "max_tokens": 20, "ignore_eos": False}
    alone = served.ask("code: ", **good)
    hostile = [
        {"guided_regex": "(" * 200 + "a" + ")*" * 200},
        {"guided_json": {"$ref": "#"}},
        {"guided_json": {"allOf": [{"pattern": f"^(.*{c}.*)+$"} for c in "abcdefghijklmnop"], "type": "string"}},
        {"guided_regex": "((a|b)*c){300}(x?){300}"},
    ]

    def attack(fields: dict[str, Any]) -> int:
        return served.client.post("/v1/completions", json={"prompt": "a", "max_tokens": 8, **fields}).status_code

    with ThreadPoolExecutor(16) as pool:
        attacks = [pool.submit(attack, fields) for fields in hostile * 2]
        answers = list(pool.map(lambda _: served.ask("code: ", **good), range(8)))
        assert {attack.result() for attack in attacks} <= {200, 400}
    assert all(answer["choices"] == alone["choices"] for answer in answers)
    assert re.fullmatch("[0-9]{3}-[a-f]{2}", alone["choices"][0]["text"])
    until(served.is_idle)


# ── an engine that is lost ───────────────────────────────────────────────────────────────────────


def ending(server: Served, stream: bool) -> tuple[str, float]:
    """How a long request ended, and when."""
    body = {**GREEDY, "prompt": "def f():", "max_tokens": 400, "stream": stream}
    with server.client.stream("POST", "/v1/completions", json=body) as response:
        text = response.read().decode()
    assert response.status_code == (200 if "data: " in text.partition("event: error")[0] else 503)
    return text, time.monotonic()


def test_a_killed_engine_ends_every_request_and_comes_back(served: Served) -> None:
    with ThreadPoolExecutor(8) as pool:
        requests: list[Future[tuple[str, float]]] = [
            pool.submit(ending, served, number % 2 == 0) for number in range(8)
        ]
        until(lambda: served.metrics()["num_requests_running"] > 0)
        killed = time.monotonic()
        os.kill(served.engine_pid, signal.SIGKILL)
        endings = [request.result() for request in requests]
        assert served.client.get("/ready").status_code == 503
    for text, ended in endings:
        assert "engine_restarting" in text
        assert "[DONE]" not in text
        assert ended - killed < 2
    until(lambda: served.client.get("/ready").status_code == 200, killed + 15 - time.monotonic())
    assert served.ask("def f():", max_tokens=3)["usage"]["completion_tokens"] == 3
    assert served.is_idle()


def test_an_engine_does_not_outlive_its_server(small: Served) -> None:
    engine = Path(f"/proc/{small.engine_pid}")
    small.process.kill()
    until(lambda: not engine.exists() or "State:\tZ" in (engine / "status").read_text(), 2)

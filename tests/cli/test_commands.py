"""The commands at work on the packaged model: a real server in a process of its own, and its signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from paceline.cli import main

PYTHON = {**os.environ, "PYTHONPATH": "src", "COLUMNS": "100", "NO_COLOR": "1"}
COMMAND = [sys.executable, "-m", "paceline"]


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    """``paceline serve --demo`` on a free port; killed if the test did not end it."""
    command = [*COMMAND, "serve", "--demo", "--port", "0", "--json", "--api-key", "auto"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=PYTHON) as server:
        yield server
        if server.poll() is None:
            server.kill()


def ready(server: subprocess.Popen[str]) -> dict[str, Any]:
    assert server.stdout is not None
    return dict(json.loads(server.stdout.readline()))


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def test_serve_answers_stays_small_and_drains(process: subprocess.Popen[str]) -> None:
    told = ready(process)
    [key] = told["api_keys"]
    body = {"model": told["model"], "prompt": "def f():", "max_tokens": 400, "stream": True, "ignore_eos": True}
    headers = {"authorization": f"Bearer {key}"}
    assert httpx2.get(f"{told['url']}/models").status_code == 401
    [engine] = children(process.pid)
    with httpx2.stream("POST", f"{told['url']}/completions", json=body, headers=headers, timeout=60) as response:
        lines = response.iter_lines()
        next(lines)
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        assert int(next(line for line in status if line.startswith("VmHWM")).split()[1]) <= 150 * 1024
        process.send_signal(signal.SIGTERM)
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert process.wait(20) == 0
    assert not Path(f"/proc/{engine}").exists()


def test_a_second_signal_ends_it_at_once(process: subprocess.Popen[str]) -> None:
    told = ready(process)
    headers = {"authorization": f"Bearer {told['api_keys'][0]}"}
    body = {"prompt": "def f():", "max_tokens": 2000, "stream": True, "ignore_eos": True, "n": 16}
    [engine] = children(process.pid)
    with httpx2.stream("POST", f"{told['url']}/completions", json=body, headers=headers, timeout=60) as response:
        lines = response.iter_lines()
        assert next(lines).startswith("data: ")
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 1
    assert not Path(f"/proc/{engine}").exists()


def test_an_engine_that_is_killed_comes_back(process: subprocess.Popen[str]) -> None:
    told = ready(process)
    url, headers = told["url"], {"authorization": f"Bearer {told['api_keys'][0]}"}
    body = {"prompt": "def f():", "max_tokens": 2000, "stream": True, "ignore_eos": True}
    with httpx2.stream("POST", f"{url}/completions", json=body, headers=headers, timeout=60) as response:
        lines = response.iter_lines()
        next(lines)
        os.kill(children(process.pid)[0], signal.SIGKILL)
        rest = "\n".join(lines)
    assert "engine_restarting" in rest
    assert "[DONE]" not in rest
    end = time.monotonic() + 30
    while httpx2.get(f"{url.removesuffix('/v1')}/ready", headers=headers).status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.1)
    answer = httpx2.post(
        f"{url}/completions", json={**body, "stream": False, "max_tokens": 3}, headers=headers, timeout=60
    )
    assert answer.status_code == 200


@pytest.mark.timeout(240)  # on a fresh machine the planner of queries is compiled
def test_the_demo_works(capsys: pytest.CaptureFixture[str]) -> None:
    result = subprocess.run([*COMMAND, "demo"], capture_output=True, text=True, env=PYTHON, check=False, timeout=230)
    assert result.returncode == 0, result.stderr
    assert "All of it worked." in result.stdout
    assert "streams at once" in result.stdout
    assert "by llm_filter" in result.stdout


def test_generate_prints_the_answer_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["generate", "def add(a, b):", "--max-tokens", "8", "--json", "--threads", "1"])
    assert not done.value.code
    answer = json.loads(capsys.readouterr().out)
    assert answer["completion_tokens"] == 8
    with pytest.raises(SystemExit):
        main(["generate", "def add(a, b):", "--max-tokens", "8", "--quiet", "--threads", "1"])
    captured = capsys.readouterr()
    assert captured.out == answer["text"] + "\n"
    assert captured.err == ""

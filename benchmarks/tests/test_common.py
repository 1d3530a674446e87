"""The parts that every benchmark trusts: arms, stored cells, the streaming client and the load generators."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from benchmarks.common.arms import Arm, ArmError
from benchmarks.common.cells import Cells
from benchmarks.common.load import closed_loop, open_loop
from benchmarks.common.stream import Answer, Connection

WORKER = """
from benchmarks.common.child import serve
def double(value): print("noise"); return {"value": 2 * value}
def fail(): raise ValueError("no")
serve({"double": double, "fail": fail})
"""
EVENTS = (
    b'data: {"choices":[{"text":"a"}]}\n\n',
    b'data: {"choices":[{"text":""}]}\n\ndata: {"choices":[{"delta":{"content":"bc"}}]}\n\n',
    b'data: {"choices":[],"usage":{"completion_tokens":3}}\n\n',
    b"data: [DONE]\n\n",
)


def test_an_arm_answers_reports_and_lives_on(tmp_path: Path) -> None:
    with Arm("tiny", [sys.executable, "-c", WORKER], env={}, log=tmp_path / "log") as arm:
        assert arm.ask("double", value=21) == {"value": 42}
        with pytest.raises(ArmError, match="tiny: fail: ValueError: no"):
            arm.ask("fail")
        assert arm.ask("double", value=1) == {"value": 2}


def test_an_arm_that_ends_is_named(tmp_path: Path) -> None:
    with (
        Arm("gone", [sys.executable, "-c", "input()"], env={}, log=tmp_path / "log") as arm,
        pytest.raises(ArmError, match="gone ended"),
    ):
        arm.ask("double", value=1)


def test_cells_survive_and_another_protocol_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "cells.json"
    cells = Cells(path, {"rounds": (1, 2)})
    cells.put("steps/A/0", 1.5)
    assert Cells(path, {"rounds": (1, 2)}).having("steps/") == {"A/0": 1.5}
    assert Cells(path, {"rounds": (1, 3)}).having("steps/") == {}


async def _with_server(
    chunks: tuple[bytes, ...], use: Callable[[int], Awaitable[list[Answer]]], *, status: str = "200 OK"
) -> list[Answer]:
    """A server that answers every request on a connection with these chunks."""

    open_handlers: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_handlers.add(task)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
                for chunk in (*chunks, b""):
                    writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        answers = await use(server.sockets[0].getsockname()[1])
        await asyncio.gather(*open_handlers)
    return answers


def _twice(chunks: tuple[bytes, ...], status: str = "200 OK") -> list[Answer]:
    async def use(port: int) -> list[Answer]:
        async with Connection("127.0.0.1", port) as connection:
            return [await connection.post("/v1/completions", {"prompt": [1]}) for _ in range(2)]

    return asyncio.run(_with_server(chunks, use, status=status))


def test_the_client_stamps_events_with_text_and_takes_usage() -> None:
    for answer in _twice(EVENTS):
        assert answer.complete
        assert (answer.text, len(answer.stamps_s), answer.num_tokens) == ("abc", 2, 3)


def test_events_may_be_cut_anywhere() -> None:
    whole = b"".join(EVENTS)
    cut = tuple(whole[start : start + 7] for start in range(0, len(whole), 7))
    assert [(answer.text, answer.num_tokens) for answer in _twice(cut)] == [("abc", 3)] * 2


@pytest.mark.parametrize(
    ("chunks", "status", "error"),
    [
        (EVENTS[:3], "200 OK", "without"),
        ((b'data: {"error":{"message":"dead"}}\n\n',), "200 OK", "dead"),
        (EVENTS, "503 Service Unavailable", "503"),
    ],
)
def test_a_failed_stream_is_not_complete(chunks: tuple[bytes, ...], status: str, error: str) -> None:
    [answer, _] = _twice(chunks, status)
    assert not answer.complete
    assert error in (answer.error or "")


def test_nobody_listening_is_an_answer_too() -> None:
    async def use() -> Answer:
        async with Connection("127.0.0.1", 9) as connection:
            return await connection.post("/v1/completions", {})

    assert not asyncio.run(use()).complete


async def _send(*_: int) -> Answer:
    answer = Answer(sent_s=time.perf_counter(), status=200, num_tokens=2)
    await asyncio.sleep(0.02)
    answer.stamps_s = [time.perf_counter()] * 2
    return answer


def test_open_loop_does_not_wait_for_answers() -> None:
    report = asyncio.run(open_loop([0.0, 0.0, 0.001], _send))
    assert report.num_failed == 0
    first, *_, last = report.outcomes
    assert last.answer.sent_s < first.answer.stamps_s[0]
    assert last.ttft_s >= 0.019


def test_closed_loop_serves_every_request_once() -> None:
    seen: list[int] = []

    async def send(client: int, index: int) -> Answer:
        seen.append(index)
        return await _send(client)

    report = asyncio.run(closed_loop(3, 7, send))
    assert sorted(seen) == list(range(7))
    assert report.num_tokens == 14

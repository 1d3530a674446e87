"""The engine in a process of its own: answers, refusals, and what happens when it dies or hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from paceline.errors import EngineDied, InvalidRequest, ModelError, NotReady, QueueFull
from paceline.llm.config import EngineConfig
from paceline.llm.remote import EngineProcess
from paceline.llm.request import Delta, Request, SamplingParams
from tests.llm.folders import write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("model"), "qwen3")


@asynccontextmanager
async def running(folder: Path, **options: object) -> AsyncIterator[EngineProcess]:
    config = EngineConfig(**{"model": str(folder), "num_blocks": 128, "threads": 1, **options})
    engine = EngineProcess(config, on_output=lambda line: None)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


def request(name: str, *, prompt: int = 20, timeout_s: float | None = None, **params: object) -> Request:
    sampling = SamplingParams(**{"temperature": 0.0, "max_tokens": 8, "ignore_eos": True, **params})
    return Request(request_id=name, prompt=tuple(range(10, 10 + prompt)), params=sampling, timeout_s=timeout_s)


async def collect(engine: EngineProcess, item: Request) -> list[Delta]:
    return [delta async for delta in engine.submit(item)]


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await asyncio.sleep(0.02)


def test_answers_refuses_and_counts(folder: Path) -> None:
    async def scenario() -> None:
        async with running(folder, max_num_seqs=2, max_queued_requests=2) as engine:
            assert engine.info.vocab_size == 384
            both = await asyncio.gather(collect(engine, request("a")), collect(engine, request("b")))
            ids = [[token for delta in deltas for token in delta.token_ids] for deltas in both]
            assert ids[0] == ids[1]
            assert len(ids[0]) == 8
            with pytest.raises(InvalidRequest) as wrong:
                await collect(engine, request("c", prompt=600))
            assert wrong.value.param == "prompt"
            streams = [engine.submit(request(f"long{i}", max_tokens=300)) for i in range(2)]
            for stream in streams:
                await anext(stream)
            with pytest.raises(QueueFull) as full:
                await collect(engine, request("d", n=3))
            assert full.value.retry_after_s >= 1
            with pytest.raises(InvalidRequest, match="in use"):
                engine.submit(request("long0"))
            for stream in streams:
                await stream.aclose()
                await stream.aclose()
            stats = await engine.stats()
            assert (stats.num_running, stats.num_blocks_used, stats.num_leaked_blocks) == (0, 0, 0)
            assert stats.num_generation_tokens >= 18
            report = await engine.speculation()
            assert report is not None
            assert report.stats.policy == "auto"
            assert report.stats.num_steps == (await engine.stats()).speculation.num_steps
            assert engine.num_open == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("stage", ["queued", "prefill", "decode", "samples"])
def test_abort_at_any_stage_gives_blocks_back(folder: Path, stage: str) -> None:
    async def scenario() -> None:
        async with running(folder, max_num_seqs=4, max_batched_tokens=16) as engine:
            params: dict[str, int] = {"max_tokens": 300, "prompt": 100}
            if stage == "samples":
                params["n"] = 3
            stream = engine.submit(request("a", **params))
            if stage in ("decode", "samples"):
                await anext(stream)
            elif stage == "prefill":
                await asyncio.sleep(0.005)
            await stream.aclose()

            async def is_clean() -> bool:
                stats = await engine.stats()
                return stats.num_running == stats.num_waiting == stats.num_blocks_used == 0

            await until(is_clean)
            await engine.abort("a")
            await engine.abort("nobody")
            assert len(await collect(engine, request("b"))) == 8

    asyncio.run(scenario())


def test_deadline_ends_a_request(folder: Path) -> None:
    async def scenario() -> None:
        async with running(folder) as engine:
            deltas = await collect(engine, request("a", max_tokens=400, timeout_s=0.05))
            assert deltas[-1].finish_reason == "deadline"

    asyncio.run(scenario())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_killed_engine_fails_open_requests_and_comes_back(folder: Path, how: signal.Signals) -> None:
    async def scenario() -> None:
        async with running(folder) as engine:
            stream = engine.submit(request("a", max_tokens=450))
            await anext(stream)
            assert engine.pid is not None
            killed = time.monotonic()
            os.kill(engine.pid, how)
            while engine.state == "ready":  # until its end is known
                await engine.abort("nobody")
                await asyncio.sleep(0.001)
            with pytest.raises(EngineDied):
                async for _ in stream:
                    pass
            assert time.monotonic() - killed < 2
            assert engine.state != "ready"
            with pytest.raises(NotReady):
                engine.submit(request("b"))

            async def is_back() -> bool:
                return engine.state == "ready"

            await until(is_back, 15)
            assert len(await collect(engine, request("c"))) == 8

    asyncio.run(scenario())


def test_drain_finishes_what_is_open(folder: Path) -> None:
    async def scenario() -> None:
        async with running(folder) as engine:
            stream = engine.submit(request("a", max_tokens=100))
            await anext(stream)
            stopping = asyncio.create_task(engine.stop(drain_s=20))
            deltas = [delta async for delta in stream]
            await stopping
            assert deltas[-1].finish_reason == "length"
            assert engine.state == "stopped"

    asyncio.run(scenario())


def test_wrong_model_is_a_model_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = EngineProcess(EngineConfig(model=str(tmp_path)), on_output=lambda line: None)
        with pytest.raises(ModelError, match=r"config\.json"):
            await engine.start()
        assert engine.state == "stopped"

    asyncio.run(scenario())

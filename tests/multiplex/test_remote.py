"""Models in a process of their own: answers of all sizes, refusals, and what happens when it dies or hangs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paceline.errors import (
    DeadlineInfeasible,
    EngineDied,
    ExecutionError,
    InvalidRequest,
    ModelError,
    NotReady,
    PacelineError,
    QueueFull,
)
from paceline.multiplex.messages import Array, TenantInfo
from paceline.multiplex.remote import MultiplexProcess
from paceline.process.supervisor import SupervisorConfig

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("double", "same", "sleep", "raise", "crash", "odd", "full", "wrong", "late")
QUICK = SupervisorConfig(start_timeout_s=60.0, watchdog_s=2.0, backoff_s=0.01, term_grace_s=1.0)


@pytest.fixture(autouse=True)
def _tests_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT / "src"), str(ROOT))))


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """One model of each kind; what a model does is the name of its folder."""
    for kind in KINDS:
        (tmp_path / kind).mkdir()
    return {kind: tmp_path / kind for kind in KINDS}


def process(folders: dict[str, Path]) -> MultiplexProcess:
    return MultiplexProcess(
        folders, supervision=QUICK, on_output=lambda line: None, worker="tests.multiplex.fake_worker"
    )


@asynccontextmanager
async def running(folders: dict[str, Path]) -> AsyncIterator[MultiplexProcess]:
    engine = process(folders)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()
        assert engine.num_open == 0


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def numbers(values: np.ndarray[Any, Any]) -> Array:
    return Array(str(values.dtype), values.shape, (values.tobytes(),))


def values_of(array: Array) -> np.ndarray[Any, Any]:
    return np.frombuffer(b"".join(array.pieces), array.dtype).reshape(array.shape)


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


SECOND = numbers(np.array([1.0], dtype=np.float32))


def test_answers_refuses_cancels_and_counts(folders: dict[str, Path]) -> None:
    async def scenario() -> None:
        async with running(folders) as engine:
            assert sorted(engine.models) == sorted(KINDS)
            assert isinstance(engine.models["double"], TenantInfo)
            await _answers(engine)
            await _refusals(engine)
            await _cancels(engine)
            await _loads(engine, folders)
            stats = await engine.stats()
            assert stats.num_launches > 0
            assert set(stats.tenants) == {*KINDS, "more"}
            assert engine.num_restarts == 0

    run(scenario())


async def _answers(engine: MultiplexProcess) -> None:
    """Small and large at once, each its own; 20 MB go both ways in pieces."""
    sizes = (1, 3, 1000, 5_000_000, 7, 300_000, 0)
    sent = [np.arange(size, dtype=np.float32).reshape(1, size) for size in sizes]
    answers = await asyncio.gather(*(engine.infer("double", [numbers(values)]) for values in sent))
    for values, [answer] in zip(sent, answers, strict=True):
        assert np.array_equal(values_of(answer), values * 2)
    for dtype in ("float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"):
        odd = np.arange(6).reshape(2, 3).astype(dtype)
        [one, two] = await engine.infer("same", [numbers(odd), numbers(odd[:, :1].copy())])
        assert np.array_equal(values_of(one), odd)
        assert np.array_equal(values_of(two), odd[:, :1])
    [half] = await engine.infer("same", [Array("bfloat16", (2,), (b"\x80\x3f\x00\x40",))])
    assert (half.dtype, b"".join(half.pieces)) == ("bfloat16", b"\x80\x3f\x00\x40")


async def _refusals(engine: MultiplexProcess) -> None:
    expected: list[tuple[str, type[PacelineError], str]] = [
        ("full", QueueFull, "the queue is full"),
        ("wrong", InvalidRequest, "wrong shape"),
        ("late", DeadlineInfeasible, "3 s"),
        ("raise", ExecutionError, "the launch failed"),
        ("odd", ExecutionError, "complex64"),
        ("nobody", InvalidRequest, "no model nobody"),
    ]
    for model, error, text in expected:
        with pytest.raises(error, match=text):
            await engine.infer(model, [SECOND])
    with pytest.raises(QueueFull) as full:
        await engine.infer("full", [SECOND])
    assert full.value.retry_after_s == 2.5
    with pytest.raises(ExecutionError, match="4 bytes came for"):
        await engine.infer("same", [Array("float32", (2,), (bytes(4),))])


async def _cancels(engine: MultiplexProcess) -> None:
    busy = asyncio.create_task(engine.infer("sleep", [SECOND]))
    waiting = asyncio.create_task(engine.infer("double", [SECOND]))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert engine.num_open == 1
    await busy
    assert np.array_equal(values_of((await engine.infer("double", [SECOND]))[0]), [2.0])
    assert (await engine.stats()).num_waiting == 1  # the fake's count of cancelled requests


async def _loads(engine: MultiplexProcess, folders: dict[str, Path]) -> None:
    info = await engine.load("more", folders["double"])
    assert info.name == "more"
    with pytest.raises(InvalidRequest, match="already"):
        await engine.load("more", folders["double"])
    with pytest.raises(ModelError, match="no such folder"):
        await engine.load("absent", folders["double"] / "absent")
    assert engine.failures == {}
    assert np.array_equal(values_of((await engine.infer("more", [SECOND]))[0]), [2.0])


def test_a_crash_fails_what_is_open_and_every_model_comes_back(folders: dict[str, Path]) -> None:
    async def scenario() -> None:
        async with running(folders) as engine:
            await engine.load("more", folders["double"])
            (folders["same"]).rmdir()
            large = numbers(np.zeros(4_000_000, dtype=np.float32))
            open_requests = [asyncio.create_task(engine.infer("sleep", [SECOND])) for _ in range(3)]
            open_requests.append(asyncio.create_task(engine.infer("double", [large])))
            await asyncio.sleep(0.02)
            assert engine.pid is not None
            os.kill(engine.pid, signal.SIGKILL)
            results = await asyncio.gather(*open_requests, return_exceptions=True)
            assert {type(result) for result in results} == {EngineDied}
            with pytest.raises(NotReady):
                await engine.infer("double", [SECOND])
            await until(lambda: engine.state == "ready")
            assert np.array_equal(values_of((await engine.infer("more", [SECOND]))[0]), [2.0])
            assert engine.failures == {"same": "there is no such folder"}
            with pytest.raises(EngineDied, match="exited with code 7"):
                await engine.infer("crash", [SECOND])

    run(scenario())


def test_a_hang_of_the_runtime_is_noticed_and_idling_is_none(folders: dict[str, Path]) -> None:
    async def scenario() -> None:
        async with running(folders) as engine:
            await asyncio.sleep(2.5)
            assert engine.num_restarts == 0
            short = numbers(np.array([0.6], dtype=np.float32))
            await asyncio.gather(*(engine.infer("sleep", [short]) for _ in range(5)))  # longer in all, never in one
            assert engine.num_restarts == 0
            with pytest.raises(EngineDied, match="hung"):
                await engine.infer("sleep", [numbers(np.array([100.0], dtype=np.float32))])

    run(scenario())


def test_draining_answers_what_is_open(folders: dict[str, Path]) -> None:
    async def scenario() -> None:
        async with running(folders) as engine:
            open_request = asyncio.create_task(engine.infer("sleep", [SECOND]))
            await asyncio.sleep(0.1)
            await engine.stop(drain_s=10.0)
            assert np.array_equal(values_of((await open_request)[0]), [1.0])
            assert engine.state == "stopped"

    run(scenario())


def test_a_model_that_cannot_be_loaded_is_named(folders: dict[str, Path]) -> None:
    async def scenario() -> None:
        broken = folders["double"].parent / "broken"
        broken.mkdir()
        engine = process({**folders, "gone": Path("/nowhere"), "bad": broken})
        with pytest.raises(ModelError, match="model 'gone': there is no such folder; model 'bad': ZeroDivisionError"):
            await engine.start()
        assert engine.state == "stopped"

    run(scenario())

"""Event loops launch by themselves what is short, while nobody else wants the device."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

from paceline.errors import ExecutionError, PacelineError
from paceline.multiplex import driver as module
from paceline.multiplex import service
from paceline.multiplex.engine import Runtime
from tests.multiplex.runtimes import Answers, Gate, X, close, serving, small

MODELS = {name: small(seed) for seed, name in enumerate("abcd")}


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    with serving(MODELS) as made:
        made.warmup()
        made.infer_sync("a", X)
        asleep(made)
        yield made


def asleep(runtime: Runtime) -> None:
    """Waits until the runtime's own thread sleeps."""
    while not runtime._driver._is_asleep:
        pass


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, int]]:
    """Of every launch: whether the thread of the test did it, and how many requests were in it."""
    found: list[tuple[bool, int]] = []
    run, mine = service.launch, threading.get_ident()

    def launch(family: Any, segment: int, members: Sequence[Any]) -> Any:
        found.append((threading.get_ident() == mine, len(members)))
        return run(family, segment, members)

    monkeypatch.setattr(service, "launch", launch)
    monkeypatch.setattr(module, "_BRIEF_S", 10.0)
    return found


async def everybody(runtime: Runtime) -> list[Any]:
    return await asyncio.gather(*(runtime.infer(name, X) for name in MODELS), return_exceptions=True)


def all_right(answers: Sequence[Any]) -> bool:
    return all(close(made, model, X) for made, model in zip(answers, MODELS.values(), strict=True))


def test_what_comes_in_one_turn_of_a_loop_is_served_by_it(runtime: Runtime, launched: list[tuple[bool, int]]) -> None:
    assert all_right(asyncio.run(everybody(runtime)))
    assert all(mine for mine, _ in launched)
    assert sum(size for _, size in launched) == 4
    launched.clear()
    assert all_right(asyncio.run(runtime.infer_many([(name, X) for name in MODELS])))
    assert all(mine for mine, _ in launched)
    runtime._driver.call(runtime._driver.window.check)


def test_long_launches_and_unknown_ones_are_left_to_the_thread(
    runtime: Runtime, launched: list[tuple[bool, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BRIEF_S", 0.0)
    assert all_right(asyncio.run(everybody(runtime)))
    monkeypatch.setattr(module, "_BRIEF_S", 10.0)
    runtime.register("new", small(9, 5), X, slo="60s")
    asleep(runtime)
    assert close(asyncio.run(runtime.infer("new", X)), small(9, 5), X)
    assert not any(mine for mine, _ in launched)


def test_a_thread_in_which_torch_computes_otherwise_is_not_used(
    runtime: Runtime, launched: list[tuple[bool, int]]
) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = asyncio.run(everybody(runtime))
    assert all_right(made)
    asleep(runtime)
    with torch.device("meta"):
        made = asyncio.run(everybody(runtime))
    assert all_right(made)
    assert not any(mine for mine, _ in launched)


def test_the_loop_keeps_its_number_of_threads(runtime: Runtime, launched: list[tuple[bool, int]]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        asyncio.run(everybody(runtime))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert launched[0][0]


def test_while_the_device_is_busy_requests_wait_for_the_thread(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, answers = Gate(monkeypatch), Answers()
    gate.stop_at(lambda: runtime.submit("a", (X,), done=answers))

    async def ask() -> list[Any]:
        asked = asyncio.create_task(everybody(runtime))
        for _ in range(5):
            await asyncio.sleep(0)
        assert runtime._driver._inbox.qsize() == 4
        gate.open()
        return await asked

    assert all_right(asyncio.run(ask()))
    answers.wait()


def test_what_is_cancelled_before_it_was_handed_over_is_dropped(
    runtime: Runtime, launched: list[tuple[bool, int]]
) -> None:
    async def ask() -> Any:
        dropped, kept = asyncio.create_task(runtime.infer("a", X)), asyncio.create_task(runtime.infer("b", X))
        asyncio.get_running_loop().call_soon(dropped.cancel)
        return await asyncio.gather(dropped, kept, return_exceptions=True)

    dropped, kept = asyncio.run(ask())
    assert isinstance(dropped, asyncio.CancelledError)
    assert close(kept, MODELS["b"], X)
    runtime._driver.call(runtime._driver.window.check)
    assert not runtime._driver.service._open


def test_what_is_cancelled_while_its_launch_waits_for_the_thread_harms_nobody_in_it(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BRIEF_S", 0.0)

    async def ask() -> list[Any]:
        dropped, kept = asyncio.create_task(runtime.infer("a", X)), asyncio.create_task(runtime.infer("b", X))
        for _ in range(3):  # the requests come in, are planned, and the thread is woken
            await asyncio.sleep(0)
        dropped.cancel()
        return await asyncio.gather(dropped, kept, return_exceptions=True)

    for _ in range(100):
        asleep(runtime)
        assert close(asyncio.run(ask())[1], MODELS["b"], X)
    assert not runtime._driver.call(lambda: list(runtime._driver.service._open))


@pytest.mark.parametrize("place", ["submit", "schedule", "commit"])
def test_a_fault_in_the_loops_thread_fails_what_is_open_and_is_over_then(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    logging.getLogger(module.__name__).setLevel(logging.CRITICAL)
    with monkeypatch.context() as patch:
        patch.setattr(module.Window, place, lambda *_: 1 / 0)
        made = asyncio.run(everybody(runtime))
        assert all(isinstance(each, ExecutionError) for each in made)
    assert all_right(asyncio.run(everybody(runtime)))


def test_an_interrupt_reaches_the_loop_and_harms_nobody_else(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    logging.getLogger(module.__name__).setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asked = [loop.create_task(runtime.infer(name, X)) for name in MODELS]
    with monkeypatch.context() as patch:
        patch.setattr(service, "launch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(asyncio.gather(*asked))
    answers = loop.run_until_complete(asyncio.gather(*asked, return_exceptions=True))
    loop.close()
    assert all(isinstance(each, PacelineError) for each in answers)
    assert all_right(asyncio.run(everybody(runtime)))


def test_loops_and_threads_at_once_lose_nothing(runtime: Runtime) -> None:
    wrong: list[str] = []

    async def ask() -> None:
        for _ in range(50):
            wrong.extend(["loop"] * (not all_right(await everybody(runtime))))

    def call() -> None:
        for _ in range(50):
            for name, model in MODELS.items():
                if not close(runtime.infer_sync(name, X), model, X):
                    wrong.append("thread")

    threads = [threading.Thread(target=asyncio.run, args=(ask(),)) for _ in range(3)]
    threads += [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert sum(tenant.num_done for tenant in runtime.stats().tenants.values()) == 1 + 3 * 50 * 4 + 2 * 50 * 4
    runtime._driver.call(runtime._driver.window.check)

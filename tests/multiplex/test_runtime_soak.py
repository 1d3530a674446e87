"""Ten thousand requests, a fifth of them cancelled, one tenant that raises: no lost answer, no wrong one, no memory kept."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import weakref
from collections import Counter

import psutil
import torch
from torch import Tensor

from paceline.errors import ExecutionError, Quarantined, QueueFull
from paceline.multiplex.engine import Runtime
from tests.multiplex.runtimes import SLOW, Answers, Lookup, serving, small

NUM_TENANTS = 12
NUM_REQUESTS = 10_000
NUM_CLIENTS = 40
NUMBERS = torch.zeros(1, dtype=torch.long)
MODELS = [Lookup(seed) for seed in range(NUM_TENANTS)]
TABLE = torch.arange(10)
with torch.no_grad():
    EXPECTED = [model(TABLE) for model in MODELS]  # by number


async def client(runtime: Runtime, number: int, counts: Counter[str]) -> None:
    choose = random.Random(number)
    for _ in range(NUM_REQUESTS // NUM_CLIENTS):
        tenant = choose.randrange(NUM_TENANTS)
        asked = torch.randint(0, 10, (choose.choice((1, 1, 1, 2, 3, 9)),))
        if tenant == 0:
            asked[-1] = 10 if choose.random() < 0.5 else 3  # its model raises for every other request
        task = asyncio.create_task(runtime.infer(str(tenant), asked))
        if choose.random() < 0.2:
            await asyncio.sleep(choose.choice((0, 0, 1e-4, 1e-3)))
            task.cancel()
        counts[await outcome(task, tenant, asked)] += 1


async def outcome(task: asyncio.Task[Tensor], tenant: int, asked: Tensor) -> str:
    try:
        made = await task
    except asyncio.CancelledError:
        return "cancelled"
    except (ExecutionError, Quarantined, QueueFull):
        return "failed" if tenant == 0 else "harmed"
    assert torch.allclose(made, EXPECTED[tenant][asked], rtol=1e-4, atol=1e-5)
    return "done"


async def soak(runtime: Runtime) -> Counter[str]:
    counts: Counter[str] = Counter()
    await asyncio.gather(*[client(runtime, number, counts) for number in range(NUM_CLIENTS)])
    return counts


def resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def test_ten_thousand_requests() -> None:
    models = {str(number): model for number, model in enumerate(MODELS)}
    with serving(dict(models), NUMBERS) as runtime:
        asyncio.run(soak(runtime))  # caches and the ring of the trace are full afterwards
        before = resident()
        counts = asyncio.run(soak(runtime))
        assert counts.total() == NUM_REQUESTS
        assert counts["done"] > NUM_REQUESTS // 2
        assert counts["cancelled"] > NUM_REQUESTS // 20
        assert counts["failed"] > 0
        assert counts["harmed"] == 0
        assert resident() - before < 32 << 20
        runtime._driver.call(runtime._driver.window.check)
        assert not runtime._driver.service._open
        assert runtime.stats().num_waiting == 0


def test_what_is_answered_is_not_kept() -> None:
    with serving({"a": small(), "b": small(1)}) as runtime:
        gc.disable()  # rings of references would wait for the collector
        try:
            for _ in range(3):
                given = torch.randn(2, 4)
                kept = weakref.ref(given)
                answers = Answers()
                for name in "ab":
                    runtime.submit(name, (given,), done=answers)
                made = [weakref.ref(each[0]) for each in answers.wait(2)]  # type: ignore[index]
                del given, answers
                runtime._driver.call(lambda: None)
                runtime.infer_sync("a", torch.zeros(1, 4))
                assert kept() is None
                assert [each() for each in made] == [None, None]
        finally:
            gc.enable()


def test_threads_that_ask_register_and_look_at_once() -> None:
    """No deadlock and no wrong answer, whatever runs beside each other."""
    models = {str(number): small(number) for number in range(6)}
    given = torch.randn(3, 4)
    with torch.inference_mode():
        expected = {name: model(given) for name, model in models.items()}
    wrong: list[str] = []
    with serving(dict(models)) as runtime:
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                asked = [(name, given) for name in models]
                for (name, _), made in zip(asked, runtime.infer_many_sync(asked), strict=True):
                    if not torch.allclose(made, expected[name], rtol=1e-4, atol=1e-5):
                        wrong.append(name)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for turn in range(15):
            runtime.register("guest", small(turn), torch.zeros(1, 4), slo=SLOW)
            runtime.update_weights("guest", small(turn + 1).state_dict())
            runtime.explain("guest")
            runtime.warmup()
            runtime.unregister("guest")
        stop.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    assert not wrong

"""The runtime under attack: bad requests, cancellation, event loops that come and go, models that change under load."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import nn

from paceline.errors import (
    ConfigError,
    DeadlineInfeasible,
    ExecutionError,
    InvalidRequest,
    NotReady,
    PacelineError,
    Quarantined,
    QueueFull,
)
from paceline.multiplex import models as registry
from paceline.multiplex.door import Door
from paceline.multiplex.engine import Runtime
from paceline.multiplex.tenant import MAX_ROWS
from tests.multiplex.runtimes import SLOW, Answers, Branching, Gate, Lookup, X, close, serving, small

NUMBERS = torch.zeros(1, dtype=torch.long)
MODELS = {name: small(seed) for seed, name in enumerate("abcd")}


@pytest.fixture(scope="module")
def shared() -> Any:
    with serving(MODELS) as runtime:
        yield runtime


# ── what is asked ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "given",
    [
        torch.randn(4, 5).t()[:, :4],
        torch.randn(1, 4).expand(3, 4),
        torch.randn(6, 8)[::2, ::2],
        torch.randn(2, 4, requires_grad=True),
        nn.Parameter(torch.randn(2, 4)),
    ],
)
def test_inputs_of_any_layout(shared: Runtime, given: torch.Tensor) -> None:
    assert close(shared.infer_sync("a", given), MODELS["a"], given)
    made = shared.infer_many_sync([(name, given) for name in MODELS])
    assert all(close(each, MODELS[name], given) for each, name in zip(made, MODELS, strict=True))


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (lambda r: r.infer_sync("nobody", X), "no model 'nobody'"),
        (lambda r: r.infer_sync("a", X.double()), "got float64"),
        (lambda r: r.infer_sync("a", X[0]), "must be"),
        (lambda r: r.infer_sync("a", X[:0]), "got 0 rows"),
        (lambda r: r.infer_sync("a", X, X), "takes 1 inputs, got 2"),
        (lambda r: r.infer_sync("a"), "takes 1 inputs, got 0"),
        (lambda r: r.infer_sync("a", X.expand(MAX_ROWS + 1, 4)), f"1 to {MAX_ROWS} rows"),
        (lambda r: r.infer_sync("a", X, deadline_s=0.0), "deadline_s must be > 0"),
        (lambda r: r.infer_sync("a", X, deadline_s=float("nan")), "deadline_s must be > 0"),
        (lambda r: r.infer_sync("a", X, deadline_s=float("inf")), "deadline_s must be > 0"),
        (lambda r: r.infer_sync("a", X, priority="high"), "priority must be a whole number"),
        (lambda r: r.submit("a", 7, done=print), "inputs must be a tuple"),
        (lambda r: r.submit("a", X, done=print), "inputs must be a tuple"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(shared: Runtime, asked: Any, text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        asked(shared)


def test_one_bad_request_among_many_fails_alone(shared: Runtime) -> None:
    asked: list[Any] = [("a", X), ("nobody", X), ("b", X.double()), ("c", 7), ("d", (X,))]
    made = shared.infer_many_sync(asked)
    assert close(made[0], MODELS["a"], X)
    assert [type(each) for each in made[1:4]] == [InvalidRequest] * 3
    assert close(made[4], MODELS["d"], X)
    assert asyncio.run(shared.infer_many([("nobody", X)]))[0].code == "model_not_found"  # type: ignore[attr-defined]
    assert shared.infer_many_sync([]) == []
    assert asyncio.run(shared.infer_many([])) == []


def test_a_large_request_runs_in_chunks_in_order() -> None:
    with Runtime() as runtime:
        runtime.register("a", small(), X, slo=SLOW, max_rows=4)
        runtime.register("b", small(1), X, slo=SLOW, max_rows=4)
        large = torch.randn(43, 4)
        made = runtime.infer_many_sync([("a", large), ("b", X), ("b", large), ("a", X)])
        for each, (seed, given) in zip(made, ((0, large), (1, X), (1, large), (0, X)), strict=True):
            assert close(each, small(seed), given)
        assert runtime.stats().num_rows == 88


def test_nan_stays_in_its_rows(shared: Runtime) -> None:
    given = torch.randn(5, 4)
    given[2, 1] = float("nan")
    asked = [(name, given if name == "b" else X + 1) for name in MODELS for _ in range(2)]
    for (name, each), made in zip(asked, shared.infer_many_sync(asked), strict=True):
        bad = each.isnan().any(dim=1)
        assert torch.equal(made.isnan().all(dim=1), bad)
        assert close(made[~bad], MODELS[name], each[~bad])


def test_what_a_model_gives_back_can_be_given_to_another_and_is_its_own(shared: Runtime) -> None:
    class Same(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x + 1

    shared.register("same", Same().eval(), X)
    first, second = shared.infer_sync("same", X)
    assert torch.equal(shared.infer_sync("same", second)[1], X + 2)
    assert torch.equal(first, X)
    shared.unregister("same")


# ── bounds ───────────────────────────────────────────────────────────────────────────────────


def test_a_full_queue_says_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, answers = Gate(monkeypatch), Answers()
    with Runtime() as runtime:
        runtime.register("a", small(), X, slo=SLOW, max_queued=3)
        gate.stop_at(lambda: runtime.submit("a", (X,), done=answers))
        for _ in range(4):
            runtime.submit("a", (X,), done=answers)
        gate.open()
        full = [each for each in answers.wait(5) if isinstance(each, QueueFull)]
        assert len(full) in (1, 2)  # the one that ran may have ended first
        assert all(each.retry_after_s > 0 for each in full)


def test_a_deadline_that_cannot_be_met_is_refused(shared: Runtime) -> None:
    shared.infer_sync("a", X)
    with pytest.raises(DeadlineInfeasible, match="is expected in"):
        shared.infer_sync("a", X, deadline_s=1e-6)


def test_a_model_that_raises_harms_nobody_and_is_quarantined() -> None:
    models: dict[str, nn.Module] = {name: Lookup(seed) for seed, name in enumerate("abc")}
    with serving(models, NUMBERS) as runtime:
        bad, good = torch.tensor([10]), torch.tensor([3, 9])
        for _ in range(3):
            made = runtime.infer_many_sync([("a", good), ("b", bad), ("c", good)])
            assert isinstance(made[1], ExecutionError)
            assert "the model raised" in str(made[1])
            assert all(close(made[place], models[name], good) for place, name in ((0, "a"), (2, "c")))
        with pytest.raises(Quarantined) as caught:
            runtime.infer_sync("b", good)
        assert caught.value.retry_after_s > 0
        assert close(runtime.infer_sync("a", good), models["a"], good)
        found = runtime.stats().tenants
        assert [found[name].num_failed for name in "abc"] == [0, 3, 0]


# ── cancellation and event loops ─────────────────────────────────────────────────────────────


def test_cancelled_tasks_are_answered_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)

    async def attack(runtime: Runtime) -> None:
        gate.shut()
        running = asyncio.create_task(runtime.infer("a", X))
        await asyncio.to_thread(gate.reached.wait, 30)
        waiting = asyncio.create_task(runtime.infer("b", X))
        many = asyncio.create_task(runtime.infer_many([("a", X), ("b", X)]))
        kept = asyncio.create_task(runtime.infer("c", X))
        await asyncio.sleep(0)
        for task in (running, waiting, many):
            task.cancel()
        outcomes = await asyncio.gather(running, waiting, many, return_exceptions=True)
        gate.open()
        assert all(isinstance(each, asyncio.CancelledError) for each in outcomes)
        assert close(await kept, MODELS["c"], X)

    with serving(MODELS) as runtime:
        asyncio.run(attack(runtime))
        runtime._driver.call(runtime._driver.window.check)
        assert not runtime._driver.service._open
        outcomes = [each.outcome for each in runtime._ledger.timeline().requests]
        assert sorted(outcomes) == ["aborted"] * 3 + ["done"] * 2  # what ran was cancelled too late


def test_many_event_loops_at_once_and_one_after_another(shared: Runtime) -> None:
    wrong: list[str] = []

    async def ask(name: str) -> None:
        made = [await shared.infer(name, X) for _ in range(20)]
        wrong.extend([name for each in made if not close(each, MODELS[name], X)])

    threads = [threading.Thread(target=asyncio.run, args=(ask(name),)) for name in list(MODELS) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for name in MODELS:
        asyncio.run(ask(name))
    assert not wrong
    assert len(shared._doors) < 3  # closed loops are forgotten


def test_a_loop_that_is_closed_with_open_requests_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    with serving(MODELS) as runtime:
        loop = asyncio.new_event_loop()
        gate.shut()
        task = loop.create_task(runtime.infer("a", X))
        loop.run_until_complete(asyncio.sleep(0))
        assert gate.reached.wait(30)
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        pending = runtime.infer("b", X)
        loop.run_until_complete(asyncio.sleep(0))
        pending.close()
        loop.close()
        gate.open()
        assert asyncio.run(runtime.infer("c", X)).shape == (1, 3)


def test_an_interrupted_wait_drops_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def put(self, _: Any) -> None: ...
        def get(self) -> Any:
            raise KeyboardInterrupt

        def __class_getitem__(cls, _: Any) -> Any:
            return cls

    gate, answers = Gate(monkeypatch), Answers()
    with serving(MODELS) as runtime:
        gate.stop_at(lambda: runtime.submit("a", (X,), done=answers))
        with monkeypatch.context() as patch:
            patch.setattr("paceline.multiplex.engine.queue.SimpleQueue", Interrupted)
            for call in (lambda: runtime.infer_sync("b", X), lambda: runtime.infer_many_sync([("b", X), ("b", X)])):
                with pytest.raises(KeyboardInterrupt):
                    call()
        gate.open()
        answers.wait()
        runtime.infer_sync("a", X)
        assert runtime.stats().tenants["b"].num_done == 0


def test_closing_fails_what_is_open_and_all_that_comes() -> None:
    async def attack() -> None:
        runtime = Runtime()
        for name, model in MODELS.items():
            runtime.register(name, model, X, slo=SLOW)
        runtime.register("own", Branching(), X)
        tasks = [asyncio.create_task(runtime.infer(name, X)) for name in [*MODELS, "own"] * 10]
        await asyncio.sleep(0)
        runtime.close()
        outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
        assert all(isinstance(each, (NotReady, torch.Tensor)) for each in outcomes)
        for name in ("a", "own"):
            with pytest.raises(NotReady):
                await runtime.infer(name, X)
        for call in (
            lambda: runtime.register("late", small(), X),
            lambda: runtime.unregister("a"),
            lambda: runtime.update_weights("a", {}),
            runtime.warmup,
        ):
            with pytest.raises((NotReady, InvalidRequest)):
                call()
        assert runtime.stats().num_waiting == 0
        runtime.close()

    asyncio.run(attack())


# ── models that change under load ────────────────────────────────────────────────────────────


def constant(value: float, width: int = 16, num_layers: int = 6) -> nn.Module:
    """All outputs are ``value`` to the power of the number of layers: a mixture of two would be neither."""
    layers = [nn.Linear(width, width, bias=False) for _ in range(num_layers)]
    for layer in layers:
        nn.init.eye_(layer.weight)
        layer.weight.data *= value
    return nn.Sequential(*[each for layer in layers for each in (layer, nn.ReLU())]).eval()


@pytest.mark.parametrize("max_rows", [64, 2])
def test_each_answer_is_of_the_old_weights_or_the_new(monkeypatch: pytest.MonkeyPatch, max_rows: int) -> None:
    monkeypatch.setattr(registry, "_SEGMENT_S", 1e-9)
    states = [constant(value).state_dict() for value in (1.0, 2.0)]
    wanted = {1.0, 2.0**6}
    example, ones = torch.zeros(1, 16), torch.ones(5, 16)
    with Runtime() as runtime:
        for name in "abc":
            runtime.register(name, constant(1.0), example, slo=SLOW, max_rows=max_rows, max_queued=1000)
        assert runtime.explain("a").num_segments > 1
        stop = threading.Event()
        mixed: list[set[float]] = []

        def load() -> None:
            while not stop.is_set():
                for made in runtime.infer_many_sync([(name, ones) for name in "abc" for _ in range(2)]):
                    found = set(made.unique().tolist())
                    if len(found) > 1 or not found <= wanted:
                        mixed.append(found)

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        for turn in range(30):
            runtime.update_weights("a", states[turn % 2])
        stop.set()
        for thread in threads:
            thread.join(60)
        assert not mixed
        runtime.update_weights("b", states[1])
        values = [set(runtime.infer_sync(name, ones).unique().tolist()) for name in "abc"]
        assert values == [{64.0}, {64.0}, {1.0}]
        assert runtime._models.families()[0].slots == {0, 1, 2}  # what was kept for requests that ran is given back


def test_what_was_begun_ends_with_the_weights_it_began_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_SEGMENT_S", 1e-9)
    gate, answers = Gate(monkeypatch), Answers()
    with serving({"a": constant(1.0)}, torch.zeros(1, 16)) as runtime:
        gate.stop_at(lambda: runtime.submit("a", (torch.ones(1, 16),), done=answers))
        update = threading.Thread(target=runtime.update_weights, args=("a", constant(2.0).state_dict()))
        update.start()
        while runtime._driver._inbox.empty():
            pass
        gate.open()
        update.join(30)
        assert answers.wait()[0][0].unique().tolist() == [1.0]  # type: ignore[index]
        assert runtime.infer_sync("a", torch.ones(1, 16)).unique().tolist() == [64.0]


def test_a_state_that_does_not_fit_changes_nothing(shared: Runtime) -> None:
    with pytest.raises(InvalidRequest):
        shared.update_weights("a", small(5, width=9).state_dict())
    with pytest.raises(InvalidRequest, match="no model"):
        shared.update_weights("nobody", {})
    assert close(shared.infer_sync("a", X + 1), MODELS["a"], X + 1)


def test_coming_and_going_under_load() -> None:
    """Names come back with models of other shapes; whoever asks gets the right answer or an honest refusal."""
    kinds = [small(9, width=width) for width in (5, 6)]
    with serving(MODELS) as runtime:
        stop, wrong, served = threading.Event(), [], []

        def load() -> None:
            while not stop.is_set():
                for name in ("guest", *MODELS):
                    try:
                        made = runtime.infer_sync(name, X)
                    except (NotReady, InvalidRequest):
                        continue
                    allowed = kinds if name == "guest" else [MODELS[name]]
                    served.append(name)
                    if not any(close(made, model, X) for model in allowed):
                        wrong.append(name)

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        for turn in range(12):
            runtime.register("guest", kinds[turn % 2], X, slo=SLOW)
            runtime.infer_sync("guest", X)
            runtime.unregister("guest")
        stop.set()
        for thread in threads:
            thread.join(60)
        assert not wrong
        assert set(served) >= set(MODELS)
        assert len(runtime._models.families()) == 1


# ── models that cannot be captured, folders, people ──────────────────────────────────────────


def test_a_model_that_cannot_be_captured_is_served_alone(shared: Runtime) -> None:
    model = Branching().eval()
    info = shared.register("own", model, X, slo=SLOW)
    assert not info.coalescible
    assert info.reasons
    given = torch.randn(3, 4)
    made = asyncio.run(shared.infer_many([("own", given), ("a", X), ("own", -given)]))
    assert close(made[0], model, given)
    assert close(made[2], model, -given)
    assert "runs by itself" in str(shared.explain("own"))
    shared.update_weights("own", Branching().state_dict())
    assert shared.stats().tenants["own"].num_done == 2
    shared.unregister("own")
    with pytest.raises(InvalidRequest):
        shared.infer_sync("own", X)


def test_what_cannot_be_registered(shared: Runtime) -> None:
    for bounds in ({"slo": "soon"}, {"slo": 0}, {"max_rows": 0}, {"weight": -1.0}, {"rate": 0.0}, {"max_queued": 0}):
        with pytest.raises(ConfigError):
            shared.register("new", small(), X, **bounds)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="already registered"):
        shared.register("a", small(), X)
    with pytest.raises(ConfigError, match="threads"):
        Runtime(threads=0)


def test_a_trace_can_be_written_also_at_the_end(tmp_path: Path) -> None:
    with serving(MODELS) as runtime:
        runtime.infer_many_sync([(name, X) for name in MODELS])
        with pytest.raises(PacelineError):
            runtime.infer_sync("a", X, deadline_s=1e-6)
    runtime.trace(tmp_path / "trace.json")
    names = {event["name"] for event in msgspec.json.decode((tmp_path / "trace.json").read_bytes())["traceEvents"]}
    assert {"done", "failed", "launched"} <= names


def test_a_door_is_made_once_for_a_loop(shared: Runtime) -> None:
    async def look() -> tuple[Door, Door]:
        return shared._door(), shared._door()

    first, second = asyncio.run(look())
    assert first is second


_LEFT_OPEN = """
import threading, torch
from torch import nn
from paceline.multiplex.engine import Runtime
class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x
runtime = Runtime()
example = torch.zeros(1, 256)
many = example.expand(64, 256)  # the threads below call nothing of torch's themselves: that would be theirs to end
runtime.register("a", nn.Sequential(nn.Linear(256, 256), nn.ReLU()).eval(), example, slo="60s")
runtime.register("own", Branching(), example, slo="60s")
started = threading.Barrier(3)
def load(name):
    runtime.infer_sync(name, example)
    started.wait()
    while True:
        runtime.infer_sync(name, many)
threading.excepthook = lambda _: None
for name in ("a", "own"):
    threading.Thread(target=load, args=(name,), daemon=True).start()
started.wait()
"""


def test_a_process_may_end_without_closing_it() -> None:
    run = subprocess.run([sys.executable, "-c", _LEFT_OPEN], capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (0, "")

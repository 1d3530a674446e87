"""Whatever happens, every request ends once."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import Any

import pytest

from paceline.errors import DeadlineExceeded, ExecutionError, InvalidRequest, NotReady
from paceline.multiplex import driver as module
from paceline.multiplex.engine import Runtime
from paceline.multiplex.mailbox import Outcome
from tests.multiplex.runtimes import Answers, Gate, X, close, serving, small


def test_a_callback_that_raises_costs_nobody_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    def bad(_: Outcome) -> None:
        raise ValueError("mine")

    answers = Answers()
    with serving({"a": small()}) as runtime, caplog.at_level(logging.ERROR):
        for done in (bad, answers):
            runtime.submit("a", (X,), done=done)
        assert close(answers.wait()[0][0], small(), X)  # type: ignore[index]


def test_a_callback_may_use_the_runtime() -> None:
    answers = Answers()
    with serving({"a": small(), "b": small(1)}) as runtime:

        def again(outcome: Outcome) -> None:
            runtime.update_weights("b", small(2).state_dict())
            runtime.submit("b", (X,), done=answers)

        runtime.submit("a", (X,), done=again)
        assert close(answers.wait()[0][0], small(2), X)  # type: ignore[index]


def test_closing_from_a_callback_ends_everybody() -> None:
    answers = Answers()
    with serving({"a": small(), "b": small(1)}) as runtime:
        runtime.submit("a", (X,), done=lambda _: runtime.close())
        while not runtime._driver.is_closed:
            with contextlib.suppress(NotReady):
                runtime.submit("b", (X,), done=answers)
    for outcome in answers.wait(len(answers.outcomes)):
        assert not isinstance(outcome, ExecutionError)


def test_a_fault_of_the_loop_fails_what_is_open_and_is_over_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serving({"a": small(), "b": small(1)}) as runtime, caplog.at_level(logging.CRITICAL):
        answers = Answers()

        def broken(*_: Any) -> Any:
            raise RuntimeError("no memory")

        for place in ("schedule", "commit"):
            monkeypatch.setattr(module.Window, place, broken)
            runtime.submit("a", (X,), done=answers)
            outcome = answers.wait()[-1]
            assert type(outcome) is ExecutionError
            assert "its log says why" in str(outcome)
            monkeypatch.undo()
            for name, model in (("a", small()), ("b", small(1))):
                assert close(runtime.infer_sync(name, X), model, X)
        assert runtime._driver.window.num_waiting == 0


def test_a_request_that_breaks_the_door_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    logging.getLogger(module.__name__).setLevel(logging.CRITICAL)
    with serving({"a": small()}) as runtime:
        monkeypatch.setattr(module.Window, "submit", lambda *_: 1 / 0)
        with pytest.raises(ExecutionError, match="its log says why"):
            runtime.infer_sync("a", X)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_end_of_the_thread_is_the_end_of_all_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({"a": small()}) as runtime:

        def end(*_: Any) -> Any:
            raise SystemExit

        monkeypatch.setattr(module.Window, "schedule", end)
        with pytest.raises(NotReady, match="closed"):
            runtime.infer_sync("a", X)
        with pytest.raises(NotReady, match="closed"):
            runtime.infer_sync("a", X)


@pytest.mark.parametrize("hangs", [False, True])
def test_closing_answers_what_is_open(monkeypatch: pytest.MonkeyPatch, hangs: bool) -> None:
    gate, answers = Gate(monkeypatch), Answers()
    monkeypatch.setattr(module, "_END_S", 0.05 if hangs else 30)
    with serving({"a": small()}) as runtime:
        gate.stop_at(lambda: runtime.submit("a", (X,), done=answers))
        for _ in range(20):
            runtime.submit("a", (X,), done=answers)
        closer = threading.Thread(target=runtime.close)
        closer.start()
        if not hangs:
            while not runtime._driver.is_closed:
                pass
            gate.open()
        closer.join(30)
        outcomes = answers.wait(21)
        assert sum(isinstance(each, NotReady) for each in outcomes) == (21 if hangs else 20)
        gate.open()
        runtime._driver._thread.join(30)
    assert len(answers.outcomes) == 21


def test_submitting_while_it_closes_loses_nothing() -> None:
    for _ in range(20):
        taken, answers = [], Answers()
        with serving({"a": small()}) as runtime:
            begun = threading.Barrier(5)

            def send(
                runtime: Runtime = runtime, begun: Any = begun, taken: Any = taken, answers: Any = answers
            ) -> None:
                begun.wait()
                try:
                    for _ in range(300):
                        runtime.submit("a", (X,), done=answers)
                        taken.append(None)
                except NotReady:
                    pass

            threads = [threading.Thread(target=send) for _ in range(4)]
            for thread in threads:
                thread.start()
            begun.wait()
            runtime.close()
            for thread in threads:
                thread.join()
        answers.wait(len(taken))
        assert len(answers.outcomes) == len(taken)


def test_a_cancelled_request_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, kept, dropped = Gate(monkeypatch), Answers(), Answers()
    with serving({"a": small(), "b": small(1)}) as runtime:
        during = gate.stop_at(lambda: runtime.submit("a", (X,), done=kept))
        waiting = runtime.submit("b", (X,), done=dropped)
        waiting.cancel()
        waiting.cancel()
        runtime.submit("a", (X,), done=kept)
        gate.open()
        kept.wait(2)
        during.cancel()
        assert close(runtime.infer_sync("b", X), small(1), X)
        assert not dropped.outcomes
        assert len(kept.outcomes) == 2
        assert [each.outcome for each in runtime._ledger.timeline().requests].count("aborted") == 1
        runtime._driver.call(runtime._driver.window.check)
        assert not runtime._driver.service._open


def test_what_is_called_by_the_thread_may_raise_anything() -> None:
    with serving({}) as runtime:

        def leave() -> None:
            raise SystemExit(3)

        with pytest.raises(SystemExit):
            runtime._driver.call(leave)
        assert runtime._driver.call(lambda: 5) == 5
    with pytest.raises(NotReady):
        runtime._driver.call(lambda: 5)


def test_a_request_that_gets_late_while_it_waits_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, answers, late = Gate(monkeypatch), Answers(), Answers()
    with serving({"a": small(), "b": small(1)}) as runtime:
        runtime.submit("b", (X,), done=late, deadline_s=1e5)
        late.wait()
        gate.stop_at(lambda: runtime.submit("a", (X,), done=answers))
        runtime.submit("a", (X,), done=answers)  # goes first
        request = runtime.submit("b", (X,), done=late, deadline_s=1e5, priority=-1)

        def age() -> None:
            runtime._driver.window.cancel(request.request)  # type: ignore[attr-defined]
            asked = request.request  # type: ignore[attr-defined]
            asked.outcome, asked.deadline, asked.arrival = None, runtime._driver.clock.now() + 20_000, None
            runtime._driver.window.submit(asked, runtime._driver.clock.now())
            while runtime._driver.clock.now() < asked.deadline:
                pass

        runtime._driver.post(age)
        gate.open()
        assert isinstance(late.wait()[-1], DeadlineExceeded)
        answers.wait(2)


def test_a_request_for_a_model_that_was_replaced_meanwhile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, answers, replaced = Gate(monkeypatch), Answers(), Answers()
    with serving({"a": small(), "b": small(1)}) as runtime:
        old = runtime._models["b"]
        gate.stop_at(lambda: runtime.submit("a", (X,), done=answers))
        swap = threading.Thread(
            target=lambda: (runtime.unregister("b"), runtime.register("b", small(2, 5), X, slo="60s"))
        )
        swap.start()
        gate.open()
        swap.join(30)
        runtime._submit(old, (X,), None, 0, replaced)
        assert isinstance(replaced.wait()[0], NotReady)
        assert close(runtime.infer_sync("b", X), small(2, 5), X)
        with pytest.raises(InvalidRequest, match="no model 'c'"):
            runtime.unregister("c")


def test_a_callback_that_waits_for_its_own_runtime_is_told_so() -> None:
    troubles = Answers()
    with serving({"a": small()}) as runtime:

        def wait(_: Outcome) -> None:
            try:
                runtime.infer_sync("a", X)
            except ExecutionError as error:
                troubles(error)

        runtime.submit("a", (X,), done=wait)
        assert "must not wait" in str(troubles.wait()[0])

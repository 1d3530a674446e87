"""Models that cannot be captured: whatever their Python does, everybody is answered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

from paceline.errors import DeadlineExceeded, ExecutionError, InvalidRequest, NotReady, QueueFull
from paceline.multiplex.ledger import Account
from paceline.multiplex.solo import Solo
from paceline.multiplex.tenant import TenantSpec
from tests.multiplex.runtimes import Answers, Branching, X


class Act(nn.Module):
    def __init__(self, act: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.act = act

    def forward(self, x: torch.Tensor) -> Any:
        return self.act(x)


@contextmanager
def solo(model: nn.Module | Callable[[torch.Tensor], Any], **bounds: Any) -> Iterator[Solo]:
    spec = TenantSpec(name="own", family="", segments=("solo",), stackable=False, **{"slo_s": 60.0, **bounds})
    found = model if isinstance(model, nn.Module) else Act(model)
    one = Solo(spec, found, ("it branches",), Account(), threads=1, flush=lambda: None)
    yield one
    one.close()


def ask(one: Solo, *inputs: torch.Tensor) -> Any:
    answers = Answers()
    one.submit(inputs or (X,), None, answers)
    (outcome,) = answers.wait()
    return one.structured(outcome) if isinstance(outcome, tuple) else outcome


class Blocking:
    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.begun.set()
        assert self.go.wait(30)
        return x


def test_results_come_as_the_model_returns_them() -> None:
    for wanted in (X, (X,), (X, X), {"a": X}, [X]):
        with solo(lambda _, wanted=wanted: wanted) as one:
            made = ask(one)
            assert type(made) is type(tuple(wanted) if isinstance(wanted, list) else wanted)
            assert len(made) == len(wanted)


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
def test_whatever_it_raises_the_next_request_is_served(kind: type[BaseException]) -> None:
    troubles = [kind("no")]

    def act(x: torch.Tensor) -> torch.Tensor:
        if troubles:
            raise troubles.pop()
        return x

    with solo(act) as one:
        outcome = ask(one)
        assert type(outcome) is ExecutionError
        assert f"the model raised {kind.__name__}: no" in str(outcome)
        assert torch.equal(ask(one), X)
        assert (one._account.num_failed, one._account.num_done) == (1, 1)


def test_what_is_not_made_of_tensors_is_an_error() -> None:
    with solo(lambda _: 7) as one:
        assert isinstance(ask(one), ExecutionError)
        with pytest.raises(InvalidRequest):
            one.submit((), None, print)
        with pytest.raises(InvalidRequest):
            one.submit(("x",), None, print)  # type: ignore[arg-type]


@pytest.mark.parametrize("returns", [False, True])
def test_closing_answers_everybody_though_the_model_hangs(returns: bool) -> None:
    model, answers = Blocking(), Answers()
    with solo(model) as one:
        for _ in range(5):
            one.submit((X,), None, answers)
        assert model.begun.wait(30)
        one.close()
        assert all(isinstance(each, NotReady) for each in answers.wait(5))
        if returns:
            model.go.set()
        with pytest.raises(NotReady):
            one.submit((X,), None, answers)
        with pytest.raises(NotReady):
            one.update({})
    model.go.set()
    assert len(answers.outcomes) == 5


def test_bounds_deadlines_and_cancellation() -> None:
    model, answers, dropped, late = Blocking(), Answers(), Answers(), Answers()
    with solo(model, max_queued=4) as one:
        one.submit((X,), None, answers)
        assert model.begun.wait(30)
        job = one.submit((X,), None, dropped)
        one.submit((X,), one._clock.now(), late)
        one.submit((X,), None, answers)
        with pytest.raises(QueueFull, match="max_queued"):
            one.submit((X,), None, answers)
        job.cancel()
        job.cancel()
        model.go.set()
        answers.wait(2)
        assert isinstance(late.wait()[0], DeadlineExceeded)
        assert not dropped.outcomes
        assert (one._account.num_late, one._account.num_done) == (1, 2)


def test_another_state_is_taken_whole_or_not_at_all() -> None:
    with solo(Branching()) as one:
        new = Branching().state_dict()
        for wrong in ({"out.weight": new["out.weight"]}, {**new, "out.bias": torch.zeros(3)}, {**new, "more": X}):
            with pytest.raises(InvalidRequest, match="missing, unknown or of another shape"):
                one.update(wrong)
        one.update(new)
        assert torch.equal(ask(one, X + 1), nn.functional.linear(X + 1, new["out.weight"], new["out.bias"]))


def test_people_see_why() -> None:
    with solo(Branching()) as one:
        info = one.info((X,))
        assert (info.coalescible, info.reasons, info.inputs[0].shape) == (False, ("it branches",), (-1, 4))
